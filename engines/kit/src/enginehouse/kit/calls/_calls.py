"""Granted calls: no service without a valid grant; usage is recorded before it is sent, and reported exactly once.

A servicer wraps its work:

```
async with self._calls.accept(context, served_models=self._models) as call:
    call.meter.add(UNIT_INPUT_TOKENS, prompt_tokens)
    ...
    sent = call.meter.take(UNIT_OUTPUT_TOKENS, len(tokens))   # fewer than asked: the cap is reached
```

However the block ends (normally, by an error, the client's cancel, a deadline, the cap, the grant's expiry), its
outcome is recorded, and the spool holds the record until a router has settled it.

A grant may name several models. The first one that is served here serves the call. Where it fails before anything was
sent or counted, the next one in the grant's order takes over if it is served here too (`Call.fall_back`); otherwise the
call is refused, so that the gateway carries it to an engine that serves the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from types import TracebackType
from typing import Any, NoReturn

import grpc

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.kit.calls.trailers import COST_TRAILER, add_trailer
from enginehouse.kit.current_call import MODEL_HEADER, CurrentCall, current_call
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, authenticate, verify
from enginehouse.kit.pricing import MAX_NANOS, Unit, prices_of
from enginehouse.kit.telemetry import CallMetrics
from enginehouse.kit.usage._counters import FIRST_OUTPUT
from enginehouse.kit.usage._extension import GrantExtensions
from enginehouse.kit.usage._spool import Accepted, Spool
from enginehouse.kit.usage.meter import CapExceeded, Meter

_log = logging.getLogger(__name__)

_NO_PRICES: dict[Unit, int] = {}
# Statuses that make the gateway try the next engine, if nothing has been sent.
_CARRIED_ON = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
# Failures of a model, not of the request or of the engine as a whole: another model may succeed.
_NEXT_MODEL_MAY_SERVE = frozenset(
    {Reason.UPSTREAM_FAILED, Reason.UPSTREAM_RATE_LIMITED, Reason.BACKEND_FAILED, Reason.WEIGHTS_ABSENT}
)
# Failures that count against a model's health. A client must not be able to cause one of them at will.
_MODEL_FAILED = frozenset({Reason.UPSTREAM_FAILED, Reason.BACKEND_FAILED, Reason.INTERNAL})


class Call:
    """One granted request being served.

    Attributes:
        request_id: the request's id.
        grant: the permission.
        candidate: the grant's entry for the model that serves; None for a call that no model serves.
        model: that model's name; empty where there is none.
        meter: counts units under the candidate's cap.
        started_at_ms: when the grant was accepted, in milliseconds since 1970 UTC.
        cancelled: true once nobody waits for the answer: the caller is gone or the grant has expired. For threads that
            poll; a handler's task is cancelled as well.
    """

    __slots__ = (
        "_accepted",
        "_calls",
        "_context",
        "_current",
        "_refused_nanos",
        "_started",
        "cancelled",
        "candidate",
        "grant",
        "meter",
        "model",
        "request_id",
    )

    def __init__(
        self,
        *,
        calls: Calls,
        grant: Grant,
        candidate: GrantCandidate | None,
        meter: Meter,
        accepted: Accepted,
        started: float,
        current: CurrentCall,
        context: Any,
    ) -> None:
        self._calls = calls
        self._current = current
        self._context = context
        self.request_id = grant.request_id
        self.grant = grant
        self.candidate = candidate
        self.model = candidate.model if candidate is not None else ""
        self.meter = meter
        self.cancelled = False
        # So much the call may not cost in all: a budget, or its own bound, has no more.
        self._refused_nanos = MAX_NANOS + 1
        self._accepted = accepted
        self._started = started

    @property
    def tenant_id(self) -> str:
        """The tenant that pays."""
        return self.grant.principal.tenant_id

    @property
    def system_prompt(self) -> str:
        """The text that the router puts before a conversation, for an experiment; usually empty."""
        return self.grant.system_prompt

    @property
    def started_at_ms(self) -> int:
        """The time of acceptance, in milliseconds since 1970 UTC."""
        return self._accepted.started_at_ms

    @property
    def first_output_ms(self) -> int:
        """Milliseconds from acceptance to the first output; 0 before it."""
        return self._accepted.counters[FIRST_OUTPUT]

    def elapsed_ms(self) -> int:
        """Return the milliseconds since acceptance."""
        return int((time.monotonic() - self._started) * 1000)

    def mark_first_output(self) -> None:
        """Note the time of the first output; later calls change nothing."""
        if not self._accepted.counters[FIRST_OUTPUT]:
            self._accepted.counters[FIRST_OUTPUT] = max(1, self.elapsed_ms())

    @property
    def alternatives(self) -> bool:
        """True if the grant names a model to fall back to after the one that serves now, here or elsewhere."""
        candidates = self.grant.candidates
        return len(candidates) > 1 and self.model != candidates[-1].model

    def time_left_s(self) -> float:
        """Return the seconds until the caller's deadline or the grant's expiry, whichever is first; never negative."""
        left = (self.grant.expires_at_ms - self._calls._now_ms()) / 1000
        deadline: float | None = self._context.time_remaining()
        return max(0.0, left if deadline is None else min(left, deadline))

    async def reserve(self, unit: Unit, n: int) -> bool:
        """Return whether n more of a unit fit under the cap, after a router has reserved more where it was too low.

        A request is bounded before it is read whole, and the bound may be too low. False where a budget or the
        request's own bound has no more, or the grant has expired.

        Raises:
            ServiceError: LEDGER_UNAVAILABLE, where more cannot be reserved now and no budget is to blame.
        """
        if not self.meter.would_exceed(unit, n):
            return True
        return await self.reserve_cost(self.meter.cost_with(unit, n))

    async def reserve_cost(self, nanos: int) -> bool:
        """Return whether the whole call may cost so much, in nano-dollars; else as `reserve`."""
        if self.meter.closed or self.candidate is None:
            return False
        if nanos <= self.candidate.cap_nanos:
            return True
        if nanos >= self._refused_nanos or not await self._calls._extend(self, nanos):
            self._refused_nanos = min(self._refused_nanos, nanos)
            return False
        return True

    def fall_back(self, error: ServiceError, *, served: Container[str]) -> bool:
        """Switch to the grant's next model, if it is served here and nothing was sent or counted; return whether it
        did.

        After a switch, `candidate`, `model` and `meter` are the next model's. The order of the grant is kept: where the
        next model is not served here, the gateway finds an engine for it.
        """
        if self.candidate is None or error.reason not in _NEXT_MODEL_MAY_SERVE or not self.untouched:
            return False
        names = [candidate.model for candidate in self.grant.candidates]
        place = names.index(self.model) + 1
        if place == len(names) or names[place] not in served:
            return False
        return self._calls._switch(self, self.grant.candidates[place], error)

    @property
    def untouched(self) -> bool:
        """True while nothing has been sent or counted, so that another engine or model may still answer."""
        return not (self.first_output_ms or self.meter.amounts)

    def mark_capped(self) -> None:
        """Record that the cap ended the answer, where the engine bounded its work by `meter.affordable` beforehand."""
        self.meter.capped = True


class Calls:
    """The granted calls of one engine.

    Args:
        keys: the keys whose grants are valid.
        spool: records acceptances and ends.
        metrics: counts calls, units and cost; None for none.
        extensions: reserves more for calls that turn out to need it; None for none.
        expiry_grace_s: seconds after its grant's expiry that a call may take to end before it is cancelled.
        now_ms: the clock, milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        keys: GrantKeys,
        spool: Spool,
        metrics: CallMetrics | None = None,
        extensions: GrantExtensions | None = None,
        expiry_grace_s: float = 1.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._keys = keys
        self._spool = spool
        self._metrics = metrics
        self._extensions = extensions
        self._expiry_grace_s = expiry_grace_s
        self._now_ms = now_ms
        self._answered: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def tallies(self, *, refusing: Container[str] = ()) -> Sequence[registry_pb2.ModelTally]:
        """Return how calls have ended, for each model that has served any, for the registry.

        Args:
            refusing: the models whose calls would be refused at once, because their provider is away.
        """
        return [
            registry_pb2.ModelTally(
                model=model, answered=self._answered[model], failed=self._failed[model], refusing=model in refusing
            )
            for model in sorted(self._answered.keys() | self._failed.keys())
        ]

    @property
    def active(self) -> int:
        """The number of granted calls that are being served."""
        return self._spool.open_calls

    def accept(self, context: Any, *, served_models: Container[str] | None) -> AcceptedCall:
        """Accept the call's grant for the length of an `async with` block, which receives the `Call`.

        A grant that names no model served here is reported as refused, so that its reservation is released.

        Args:
            context: the handler's `grpc.aio.ServicerContext`, in a handler that an `EngineServer` runs.
            served_models: the models that can serve this call; the grant's first candidate among them is taken.
                None for calls that no model serves, which spend nothing.

        Raises (on entry):
            ServiceError: GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED, GRANT_REPLAYED; NO_ENDPOINT if no candidate is
                served here; LEDGER_UNAVAILABLE if usage cannot be recorded.
        """
        return AcceptedCall(self, context, served_models)

    def _open(self, context: Any, served_models: Container[str] | None) -> Call:
        current = current_call.get()
        if current is None:
            raise RuntimeError("calls.accept() works only in handlers that an EngineServer runs")
        token = current.header(GRANT_HEADER)
        grant = verify(token, keys=self._keys, method=current.method, now_ms=self._now_ms())
        current.request_id = grant.request_id
        current.tenant = grant.principal.tenant_id
        candidate: GrantCandidate | None = None
        if served_models is not None:
            candidate = next((entry for entry in grant.candidates if entry.model in served_models), None)
            if candidate is None:
                self._refuse(grant, token)
        meter = _meter(candidate)
        accepted = self._spool.accept(grant, token=token, model=candidate.model if candidate else "")
        meter.count_in(accepted.counters)
        if candidate is not None and len(grant.candidates) > 1:
            # With several candidates the router cannot know who will answer, so the engine names the model.
            current.leading = ((MODEL_HEADER, candidate.model),)
        return Call(
            calls=self,
            grant=grant,
            candidate=candidate,
            meter=meter,
            accepted=accepted,
            started=time.monotonic(),
            current=current,
            context=context,
        )

    def _refuse(self, grant: Grant, token: str) -> NoReturn:
        """Refuse a grant for models that are not served here, since the registry may be a moment behind."""
        accepted = self._spool.accept(grant, token=token, model="")
        meter = _meter(None)
        meter.close()
        self._spool.finish(accepted, meter=meter, outcome=usage_pb2.OUTCOME_REFUSED, first_output_ms=0)
        asked = ", ".join(repr(entry.model) for entry in grant.candidates) or "no model"
        raise ServiceError(Reason.NO_ENDPOINT, f"this engine does not serve {asked}; retry", retry_after_s=0.1)

    def _switch(self, call: Call, candidate: GrantCandidate, error: ServiceError) -> bool:
        """Record the change of a call's model; without the record there is no change."""
        meter = _meter(candidate)
        try:
            self._spool.switch(call._accepted, model=candidate.model)
        except OSError as full:
            _log.error("cannot fall back, the change of model cannot be recorded: %s", full)
            return False
        _log.warning("%s failed before it answered, falling back to %s: %s", call.model, candidate.model, error.message)
        if error.reason in _MODEL_FAILED:
            self._note(call.model, failed=True)
        meter.count_in(call._accepted.counters)
        call.candidate, call.model, call.meter = candidate, candidate.model, meter
        call._current.leading = ((MODEL_HEADER, candidate.model),)
        return True

    async def _extend(self, call: Call, nanos: int) -> bool:
        """Have the cost of a call allowed to be so much; return whether it is."""
        grant, candidate = call.grant, call.candidate
        assert candidate is not None
        if self._extensions is None or not grant.replica_address or nanos > (grant.max_nanos or MAX_NANOS):
            return False
        need = nanos - candidate.cap_nanos
        request = usage_pb2.ExtendRequest(
            grant=call._accepted.token,
            model=call.model,
            need_nanos=need,
            # Doubled each time, so that a long call asks seldom.
            want_nanos=min(max(need, candidate.cap_nanos), MAX_NANOS - candidate.cap_nanos),
        )
        try:
            token = await self._extensions.extend(request, address=grant.replica_address)
        except ServiceError as error:
            if error.reason is Reason.BUDGET_EXHAUSTED:
                return False
            if error.reason is Reason.GRANT_EXPIRED:
                raise _took_too_long() from None
            raise
        extended = authenticate(token, keys=self._keys)
        raised = next((entry for entry in extended.candidates if entry.model == call.model), None)
        if extended.grant_id != grant.grant_id or raised is None or raised.cap_nanos < nanos:
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, "the router extended another grant; retry", retry_after_s=1.0)
        if call.candidate is None or raised.cap_nanos <= call.candidate.cap_nanos:
            # Another need of the same call was answered meanwhile, and with more.
            return True
        try:
            self._spool.extend(call._accepted, token=token)
        except OSError as error:
            raise self._spool.full(error) from error
        call.grant, call.candidate = extended, raised
        call.meter.raise_cap(raised.cap_nanos)
        return True

    def _note(self, model: str, *, failed: bool) -> None:
        if model:
            (self._failed if failed else self._answered)[model] += 1

    def _close(self, call: Call, outcome: usage_pb2.Outcome.ValueType, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            reason = error.reason if isinstance(error, ServiceError) else Reason.INTERNAL
            if reason in _MODEL_FAILED:
                self._note(call.model, failed=True)
        elif error is None or call.first_output_ms:
            # A caller who left before the first output proves nothing about the model, either way.
            self._note(call.model, failed=False)
        meter = call.meter
        first_output_ms = call.first_output_ms
        # Its counts are read before it is closed, while they are in the spool's counters.
        amounts = self._spool.finish(call._accepted, meter=meter, outcome=outcome, first_output_ms=first_output_ms)
        meter.close()
        if self._metrics is not None:
            self._metrics.ended(call.model, outcome, amounts, meter.cost_nanos, first_output_ms / 1000)


class AcceptedCall:
    """The `async with` block around the work on a granted call. Made by `Calls.accept`."""

    __slots__ = ("_call", "_calls", "_context", "_expired", "_served_models", "_task", "_timer")

    def __init__(self, calls: Calls, context: Any, served_models: Container[str] | None) -> None:
        self._calls = calls
        self._context = context
        self._served_models = served_models
        self._expired = False
        self._call: Call | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Call:
        call = self._call = self._calls._open(self._context, self._served_models)
        left_s = (call.grant.expires_at_ms - self._calls._now_ms()) / 1000
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, left_s), self._stop_spending)
        return call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call = self._call
        assert call is not None
        assert self._timer is not None
        self._timer.cancel()
        expired = self._expired and isinstance(error, asyncio.CancelledError)
        if error is None:
            outcome = usage_pb2.OUTCOME_CAPPED if call.meter.capped else usage_pb2.OUTCOME_COMPLETED
        elif expired or isinstance(error, CapExceeded):
            outcome = usage_pb2.OUTCOME_CAPPED
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            outcome = usage_pb2.OUTCOME_CANCELLED
            call.cancelled = True
        elif isinstance(error, ServiceError) and error.code in _CARRIED_ON and call.untouched:
            outcome = usage_pb2.OUTCOME_REFUSED
        else:
            outcome = usage_pb2.OUTCOME_FAILED
        self._calls._close(call, outcome, error)
        add_trailer(self._context, COST_TRAILER, str(call.meter.cost_nanos))
        if expired:
            assert self._task is not None
            self._task.uncancel()
            raise _took_too_long() from None

    def _stop_spending(self) -> None:
        """Stop counting at the grant's expiry, and cancel a handler that does not end soon after."""
        assert self._call is not None
        self._call.meter.closed = True
        self._timer = asyncio.get_running_loop().call_later(self._calls._expiry_grace_s, self._cancel)

    def _cancel(self) -> None:
        assert self._call is not None
        assert self._task is not None
        self._expired = True
        self._call.cancelled = True
        self._task.cancel()


def _took_too_long() -> ServiceError:
    return ServiceError(
        Reason.DEADLINE_EXCEEDED, "the request took longer than its grant allows; ask for less output, or stream"
    )


def _meter(candidate: GrantCandidate | None) -> Meter:
    """Return a meter for a candidate's prices and cap; one that affords nothing where no model serves."""
    if candidate is None:
        return Meter(prices=_NO_PRICES, cap_nanos=0)
    try:
        return Meter(prices=prices_of(candidate.prices), cap_nanos=candidate.cap_nanos)
    except ValueError as error:
        raise ServiceError(Reason.GRANT_INVALID, f"invalid grant: {error}") from None

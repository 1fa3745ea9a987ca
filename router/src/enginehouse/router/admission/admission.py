"""Admission of a request: who it is from, what it may do, which model serves it, whether it can be paid for; and the
signed grant.

The one place where a decision's parts meet. Nothing here waits for a network, except a draw when a lease runs dry and
the search for a key that is not known here. A check that waits for nothing is admitted without a task of its own.
"""

from __future__ import annotations

import dataclasses

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.contracts import Contracts, Exposure
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.kit.tasks import in_task
from enginehouse.router.admission import errors
from enginehouse.router.admission.admitting import Admitted, Admitting, Check
from enginehouse.router.admission.caller_context import CallerContext
from enginehouse.router.admission.cost_caps import RunCaps, capped, request_cap
from enginehouse.router.admission.exact_input import ExactInput
from enginehouse.router.admission.grant_builder import GrantBuilder
from enginehouse.router.admission.request_headers import (
    chosen_request_id,
    decision_timeout_s,
    refuse_partial_body,
    service_of,
    user_or_run,
)
from enginehouse.router.alerts import ExhaustionRecorder
from enginehouse.router.cache import CacheLookup, ResponseCache
from enginehouse.router.clock import Clock
from enginehouse.router.decision.decide import Candidate, Decision, State, decide
from enginehouse.router.experiments import Assigned, Assignment, ExperimentSubject, ExposureLog
from enginehouse.router.identity import Authenticator, Caller
from enginehouse.router.ids import IdPairs, new_id
from enginehouse.router.ledger import InsufficientBudget, Ledger, LedgerUnavailable, Reservation, Shortfall
from enginehouse.router.limits import Limiter, LimitReservation
from enginehouse.router.policy import policy_tasks, read_route
from enginehouse.router.prices import UNBOUNDED_NANOS
from enginehouse.router.request import InferenceRequest, first_message, parse_request

# Enough for the keys in use at once; beyond it the oldest is worked out again when it is used.
_MAX_CALLERS = 100_000
# Of what a caller and Envoy wait for a decision, what a request may wait for its budget.
_SHARE_TO_WAIT = 0.8
_REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_HEALTH = "grpc.health.v1.Health"


class Admission:
    """Admits requests for one replica.

    Args:
        contracts: what each method does.
        state: what decisions look at.
        callers: tells who a request is from.
        limiter: rates and concurrency.
        ledger: money.
        cache: answers of earlier requests.
        assignment: experiments and rollouts.
        exposures: the log of the requests that were assigned.
        run_caps: the budgets that runs begin with.
        exhaustion: raises alerts for budgets that could not pay.
        exact_input: has prompts counted that a budget cannot pay at their bound.
        grant_keys: what grants are signed with.
        clock: milliseconds since 1970 UTC.
        accept_window_s: how long an engine may wait to start on a grant.
        grant_ttl_s: how long it may go on spending.
        max_body_bytes: the most that a compressed body may grow to.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        state: State,
        callers: Authenticator,
        limiter: Limiter,
        ledger: Ledger,
        cache: ResponseCache,
        assignment: Assignment,
        exposures: ExposureLog,
        run_caps: RunCaps,
        exhaustion: ExhaustionRecorder,
        exact_input: ExactInput,
        grant_keys: GrantKeys,
        clock: Clock,
        accept_window_s: float,
        grant_ttl_s: float,
        max_body_bytes: int,
    ) -> None:
        self._contracts = contracts
        self._policy_tasks = policy_tasks(contracts)
        self._state = state
        self._callers = callers
        self._limiter = limiter
        self._ledger = ledger
        self._cache = cache
        self._assignment = assignment
        self._exposures = exposures
        self._run_caps = run_caps
        self._exhaustion = exhaustion
        self._exact_input = exact_input
        self._grant_keys = grant_keys
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._grants = GrantBuilder(
            contracts=contracts,
            prices=state.prices,
            replica_id=lambda: ledger.replica_id,
            accept_window_s=accept_window_s,
            grant_ttl_s=grant_ttl_s,
        )
        self._ids = IdPairs()
        self._contexts: dict[str, CallerContext] = {}

    async def admit(self, check: Check) -> Admitted:
        """Admit the request. Raises ServiceError with the reason of a refusal."""
        headers = check.headers
        method = self._contracts.methods.get(check.method)
        if method is None or not method.task:
            return await self._admit_other(check)
        now = self._clock()
        self._state.prices.advance(now)
        caller = await self._callers.authenticate(headers, now_ms=now)
        refuse_partial_body(headers)
        request = parse_request(
            self._contracts,
            check.method,
            check.body,
            headers=headers,
            encoding=headers[b"grpc-encoding"].decode("latin-1") if b"grpc-encoding" in headers else "",
            max_bytes=self._max_body_bytes,
        )
        request.follow_alias(self._state.catalog.aliases)
        request.policy_task, request.subject = read_route(headers, method.task, tasks=self._policy_tasks)
        context = self._context_of(caller)
        if not context.may_infer:
            raise errors.scope_denied(caller, "inference")
        grant_id, request_id = self._ids.next("grn", "req")
        request_id = chosen_request_id(headers, request.request_id) or request_id
        if self._assignment.idle:
            return await self._admit(Admitting(check, context, request, grant_id, request_id, now), None)
        assigned = self._assign(check, context, request, request_id)
        if assigned is not None:
            request = assigned.request
        admitting = Admitting(check, context, request, grant_id, request_id, now)
        try:
            admitted = await self._admit(admitting, assigned)
        except ServiceError as error:
            if assigned is not None:
                self._exposures.record(assigned, grant_id=grant_id, request_id=request_id, refusal=error.reason.value)
            raise
        if assigned is not None:
            self._exposures.record(assigned, grant_id=grant_id, request_id=request_id)
        return admitted

    def explain(self, caller: Caller, request: InferenceRequest) -> Decision:
        """Return what would be decided, with every model considered. Reserves nothing."""
        return decide(request, caller, self._state, explain=True)

    async def _admit(self, admitting: Admitting, assigned: Assigned | None) -> Admitted:
        check, context, request = admitting.check, admitting.caller, admitting.request
        assert request is not None
        decision = decide(request, context.caller, self._state, request_id=admitting.request_id)
        if decision.refusal is not None or not decision.candidates:
            raise decision.refusal or ServiceError(Reason.INTERNAL, "a decision without a model")
        cap, bound = request_cap(check.headers, context.lowest_cap), decision.bound_nanos
        if cap is not None and cap < bound:
            decision = decision._replace(candidates=capped(decision.candidates, request, cap))
            bound = decision.bound_nanos
        if bound >= UNBOUNDED_NANOS and not request.free:
            raise errors.unbounded(check.method)
        candidates = decision.candidates
        grant = self._grants.build(admitting, candidates)
        grant.prompt_class = decision.prompt_class
        endpoints = decision.endpoints
        grant.offered_engines = len(endpoints)
        if assigned is not None and assigned.system_prompt:
            grant.system_prompt = assigned.system_prompt
        held = await self._limiter.admit(context.bounds(check.method, grant.principal.user_id), tokens=decision.tokens)
        lookup: CacheLookup | None = None
        waited_ms = 0
        try:
            if request.free:
                token = sign(grant, keys=self._grant_keys)
                held.release(0)
            else:
                lookup = await self._look_up(admitting, candidates[0], grant)
                if lookup is not None and lookup.answered:
                    held.release(0)
                    return self._replayed(lookup, grant, candidates[0], held)
                reserved = await self._reserve(admitting, decision, grant, held, most=cap)
                token, waited_ms = reserved.token, reserved.waited_ms
        except BaseException:
            held.cancel()
            if lookup is not None:
                self._cache.abandon(lookup, admitting.grant_id)
            raise
        self._state.fleet.sent(endpoints[0], candidates[0].model.name)
        self._state.recent.note(context.caller.tenant.tenant_id, candidates[0].model.name, request, decision.prediction)
        admitted = Admitted(admitting.request_id, token, endpoints, quota=held.quota)
        admitted.budget_wait_ms = waited_ms
        if lookup is not None:
            admitted.cache = lookup.result.value
        # Of several models, the engine that answers names its own.
        if len(candidates) > 1:
            admitted.fallbacks = _fallbacks(candidates)
        else:
            admitted.model = candidates[0].model.name
        return admitted

    async def _look_up(self, admitting: Admitting, chosen: Candidate, grant: grant_pb2.Grant) -> CacheLookup | None:
        """Look for the answer where the request or its key asks for it; fit the grant to what is found."""
        check = admitting.check
        directives = self._cache.directives(check.headers, admitting.caller.key_ids)
        if directives is None:
            return None
        await in_task()
        encoding = check.headers.get(b"grpc-encoding", b"").decode("latin-1")
        return await self._cache.lookup(
            directives,
            method=check.method,
            message=first_message(check.body, encoding=encoding, max_bytes=self._max_body_bytes),
            model=chosen.model,
            engine_id=chosen.endpoints[0].engine_id,
            grant=grant,
        )

    def _replayed(
        self, lookup: CacheLookup, grant: grant_pb2.Grant, chosen: Candidate, held: LimitReservation
    ) -> Admitted:
        return Admitted(
            grant.request_id,
            sign(grant, keys=self._grant_keys),
            model=chosen.model.name,
            quota=held.quota,
            cache=lookup.result.value,
            replay_at=self._cache.address,
        )

    def _assign(
        self, check: Check, context: CallerContext, request: InferenceRequest, request_id: str
    ) -> Assigned | None:
        caller = context.caller
        user_id = caller.key.user_id or user_or_run(check.headers, b"x-enginehouse-user-id") or request.user_id
        subject = ExperimentSubject(caller.tenant.tenant_id, caller.key.key_id, user_id, request_id)
        policy, catalog = self._state.policy, self._state.catalog

        def may_use(name: str) -> bool:
            model = catalog.get(name)
            return model is not None and policy.allows(caller, model)

        return self._assignment.assign(request, subject, may_use=may_use)

    async def _admit_other(self, check: Check) -> Admitted:
        """Grant a method that no price applies to; an engine can spend nothing on such a grant."""
        method, headers = check.method, check.headers
        service = service_of(method)
        request_id = chosen_request_id(headers, "") or new_id("req")
        if service == _HEALTH:
            # It tells what anybody on the listener can see anyway, and probes have no keys.
            return Admitted(request_id)
        now = self._clock()
        caller = await self._callers.authenticate(headers, now_ms=now)
        refuse_partial_body(headers)
        context = self._context_of(caller)
        if service in _REFLECTION:
            return Admitted(request_id)
        known = self._contracts.services.get(service)
        # What the routers serve asks for scopes of its own, and notes who was refused.
        if not (context.may_infer or (known is not None and known.exposure is Exposure.ROUTER)):
            raise errors.scope_denied(caller, "inference")
        endpoints = self._state.fleet.of_service(service)
        if not endpoints:
            if known is not None:
                raise ServiceError(
                    Reason.NO_ENDPOINT,
                    f"no live engine serves {service}; start one, or retry shortly",
                    retry_after_s=1.0,
                )
            raise ServiceError(Reason.UNKNOWN_METHOD, f"no method {method[:200]!r} is served here")
        held = await self._limiter.admit(context.bounds(method, ""), tokens=0)
        held.release(0)
        grant = self._grants.build(Admitting(check, context, None, new_id("grn"), request_id, now), ())
        return Admitted(request_id, sign(grant, keys=self._grant_keys), endpoints, "", held.quota)

    def _context_of(self, caller: Caller) -> CallerContext:
        """Return what follows from the key alone, worked out once and again when the key changes."""
        key_id = caller.key.key_id
        context = self._contexts.get(key_id)
        if context is None or context.caller is not caller:
            if len(self._contexts) >= _MAX_CALLERS and key_id not in self._contexts:
                del self._contexts[next(iter(self._contexts))]
            context = self._contexts[key_id] = CallerContext(
                caller, ancestors=self._callers.ancestors(caller), tier=self._state.policy.tier(caller)
            )
        return context

    def _patience_s(self, admitting: Admitting) -> float:
        """Return how long a request may wait for a budget: its caller, and Envoy, must still be there to be told."""
        longest_s = decision_timeout_s(admitting.check.headers) * _SHARE_TO_WAIT
        return min(self._ledger.budget_wait_s, longest_s - (self._clock() - admitting.now_ms) / 1000)

    async def _reserve(
        self,
        admitting: Admitting,
        decision: Decision,
        grant: grant_pb2.Grant,
        held: LimitReservation,
        *,
        most: int | None,
    ) -> Reservation:
        """Reserve the request's bound, `most` at most, and sign the grant for it.

        What is charged to limits stays so while it waits for a budget: a request that waits is one that runs.
        """
        context, principal = admitting.caller, grant.principal
        payer = context.payer
        if principal.user_id or principal.run_id:
            payer = context.payer_of(principal)
        try:
            if principal.run_id and not self._run_caps.held(context.keys, principal.run_id, now_ms=admitting.now_ms):
                await in_task()
                await self._run_caps.fetch(context.keys, principal.run_id)
            if not self._ledger.accounts(payer, now_ms=admitting.now_ms):
                decision = decision._replace(candidates=_unbudgeted(decision.candidates, admitting.request, most))
            cap = decision.bound_nanos
            reserved = self._ledger.try_reserve(
                payer,
                grant_id=admitting.grant_id,
                cap_nanos=cap,
                now_ms=admitting.now_ms,
                expires_at_ms=grant.expires_at_ms,
            )
            if isinstance(reserved, Shortfall):

                async def lower(unspent_nanos: int | None) -> int:
                    nonlocal decision, cap
                    lowered = await self._exact_input.lower(
                        admitting, decision.candidates, grant, unspent_nanos=unspent_nanos
                    )
                    decision = decision._replace(candidates=lowered)
                    cap = decision.bound_nanos
                    return cap

                reserved = await self._ledger.reserve(
                    payer,
                    grant_id=admitting.grant_id,
                    cap_nanos=cap,
                    now_ms=admitting.now_ms,
                    expires_at_ms=grant.expires_at_ms,
                    wait_s=self._patience_s(admitting),
                    lower=lower,
                )
                # The engine's times begin when there is something to spend.
                self._grants.issue(grant, now_ms=reserved.issued_at_ms)
        except InsufficientBudget as error:
            self._exhaustion.refused(error.budget.budget_id, error.budget.period.window_start_ms(admitting.now_ms))
            raise errors.budget_exhausted(error, cap) from None
        except LedgerUnavailable as error:
            raise errors.ledger_unavailable(error) from None
        try:
            # The replica may have registered anew while a draw was waited for.
            grant.replica_id = self._ledger.replica_id
            # A request that may cost nothing has nothing to extend; 0 in the grant would mean no bound.
            if admitting.request is not None and not admitting.request.bounded and most != 0:
                grant.replica_address = self._cache.address
                grant.max_nanos = most or 0
            for entry, candidate in zip(grant.candidates, decision.candidates, strict=True):
                entry.cap_nanos = candidate.bound_nanos
            for account in reserved.accounts:
                grant.funding.add(
                    budget_id=account.budget.budget_id,
                    lease_id=account.lease_id,
                    window_start_ms=account.window_start_ms,
                )
            reserved.token = sign(grant, keys=self._grant_keys)
        except BaseException:
            self._ledger.cancel(reserved)
            raise
        reserved.on_close = held.release
        return reserved


def _unbudgeted(
    candidates: tuple[Candidate, ...], request: InferenceRequest | None, most: int | None
) -> tuple[Candidate, ...]:
    """Return the candidates with bounds that end no answer, but at the cap of the caller or its keys: without a
    budget, no money has to be kept for other requests.
    """
    assert request is not None
    bounds = [candidate.offer.full_nanos(request) for candidate in candidates]
    return tuple(
        [
            dataclasses.replace(candidate, bound_nanos=bound if most is None else min(bound, most))
            for candidate, bound in zip(candidates, bounds, strict=True)
        ]
    )


def _fallbacks(candidates: tuple[Candidate, ...]) -> str:
    first, *others = candidates
    return ", ".join(
        [f"{other.model.name};difference_nanos={other.bound_nanos - first.bound_nanos}" for other in others]
    )

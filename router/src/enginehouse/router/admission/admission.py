"""Admits a request: who is it, may they, what will it be, can they pay; and gives out the signed grant.

The one place where a decision's parts meet. Nothing here waits for a network, except a draw when a lease runs dry.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.kit.pricing import unit_price
from enginehouse.router.admission.caller_context import CallerContext
from enginehouse.router.admission.cost_caps import RunCaps, capped, request_cap
from enginehouse.router.alerts import ExhaustionRecorder
from enginehouse.router.cache import CacheLookup, ResponseCache
from enginehouse.router.clock import Clock
from enginehouse.router.decision.decide import Candidate, Decision, State, decide
from enginehouse.router.experiments import Assignment, ExposureLog, Steered, Subject
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.identity import Authenticator, Caller
from enginehouse.router.ids import new_id, new_ids
from enginehouse.router.ledger import BudgetExhausted, Ledger, LedgerUnavailable, Shortfall
from enginehouse.router.limits import Held, Limiter, Quota
from enginehouse.router.policy import read_route
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Purpose, first_message, parse_request, purpose_of

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_PERSON = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
_MOST_ATTEMPTS = 1000
# Enough for the keys in use at once; beyond it they are simply worked out again.
_MOST_STANDINGS = 100_000
# The router's own services look at the scopes themselves, method by method.
_ROUTER_PACKAGE = "enginehouse.api.router.v1."
_MODELS_SERVICE = "enginehouse.api.openai.v1.ModelsService"
_REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_HEALTH = "grpc.health.v1.Health"


@dataclasses.dataclass(slots=True)
class Check:
    """A request to be admitted: its method, its headers by lower-case name, and its body as it was sent."""

    method: str
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclasses.dataclass(slots=True)
class Admitted:
    """An admitted request. `token` is empty where no grant is needed, `model` where it is not known yet who answers.

    `cache` says what came of the lookup in the cache, where there was one; `replay_at` is where the answer is given,
    "ip:port", where it is kept already. `fallbacks` names the models that may answer instead, in order, each with how
    much more it may cost: "large;difference_nanos=1200, huge;difference_nanos=4100".
    """

    request_id: str
    token: str = ""
    endpoints: Sequence[Endpoint] = ()
    model: str = ""
    quota: Quota | None = None
    cache: str = ""
    replay_at: str = ""
    fallbacks: str = ""


class Admission:
    """Admits requests for one replica.

    Args:
        state: what decisions look at.
        callers: who callers are.
        limiter: rates and concurrency.
        ledger: money.
        cache: answers that are there already.
        steering: experiments and rollouts.
        exposures: the log of what they steered.
        run_caps: the budgets that runs begin with.
        refusals: hears of budgets that could not pay.
        grant_keys: what grants are signed with.
        clock: milliseconds since 1970 UTC.
        accept_window_s: how long an engine may wait to start on a grant.
        grant_ttl_s: how long it may go on spending.
        max_body_bytes: the most that a compressed body may grow to.
    """

    def __init__(
        self,
        *,
        state: State,
        callers: Authenticator,
        limiter: Limiter,
        ledger: Ledger,
        cache: ResponseCache,
        steering: Assignment,
        exposures: ExposureLog,
        run_caps: RunCaps,
        refusals: ExhaustionRecorder,
        grant_keys: GrantKeys,
        clock: Clock,
        accept_window_s: float,
        grant_ttl_s: float,
        max_body_bytes: int,
    ) -> None:
        self._state = state
        self._callers = callers
        self._limiter = limiter
        self._ledger = ledger
        self._cache = cache
        self._steering = steering
        self._exposures = exposures
        self._run_caps = run_caps
        self._refusals = refusals
        self._grant_keys = grant_keys
        self._clock = clock
        self._accept_window_ms = int(accept_window_s * 1000)
        self._grant_ttl_ms = int(grant_ttl_s * 1000)
        self._max_body_bytes = max_body_bytes
        self._standings: dict[str, CallerContext] = {}

    async def admit(self, check: Check) -> Admitted:
        """Admits the request. Raises ServiceError with the reason of a refusal."""
        method, headers = check.method, check.headers
        purpose = purpose_of(method)
        if purpose is Purpose.OTHER:
            return await self._admit_other(check)
        now = self._clock()
        self._state.prices.advance(now)
        caller = self._callers.authenticate(headers, now_ms=now)
        _refuse_partial(headers)
        ask = parse_request(
            method,
            check.body,
            headers=headers,
            encoding=headers[b"grpc-encoding"].decode("latin-1") if b"grpc-encoding" in headers else "",
            max_bytes=self._max_body_bytes,
        )
        ask.task, ask.subject = read_route(headers, purpose)
        standing = self._standing_of(caller)
        if not standing.infers:
            raise _scope_denied(caller, "inference")
        grant_id, request_id = new_ids("grn", "req")
        request_id = _given_id(headers, ask.request_id) or request_id
        steered = self._steer(ask, caller, headers, request_id)
        try:
            admitted = await self._admit_ask(
                check, standing, ask if steered is None else steered.ask, steered, grant_id, request_id, now
            )
        except ServiceError as error:
            if steered is not None:
                self._exposures.note(steered, grant_id=grant_id, request_id=request_id, refusal=error.reason.value)
            raise
        if steered is not None:
            self._exposures.note(steered, grant_id=grant_id, request_id=request_id)
        return admitted

    async def _admit_ask(
        self,
        check: Check,
        standing: CallerContext,
        ask: InferenceRequest,
        steered: Steered | None,
        grant_id: str,
        request_id: str,
        now: int,
    ) -> Admitted:
        method, headers = check.method, check.headers
        decision = decide(ask, standing.caller, self._state, request_id=request_id)
        candidates = decision.candidates
        if decision.refusal is not None or not candidates:
            raise decision.refusal or ServiceError(Reason.INTERNAL, "a decision without a model")
        most = request_cap(headers, standing.lowest_cap)
        if most is not None and most < decision.bound_nanos:
            candidates = decision.candidates = capped(candidates, ask, most)
        grant = self._grant(standing, method, candidates, grant_id, request_id, now, headers, ask.user_id)
        grant.prompt_class = decision.prompt_class
        endpoints = decision.endpoints
        grant.offered_engines = len(endpoints)
        if steered is not None and steered.system_prompt:
            grant.system_prompt = steered.system_prompt
        held = await self._limiter.admit(standing.bounds(method, grant.principal.user_id), tokens=decision.tokens)
        look: CacheLookup | None = None
        try:
            if ask.purpose is Purpose.TOKENIZE:
                token = sign(grant, keys=self._grant_keys)
                held.release(0)
            else:
                look = await self._look_up(check, standing, candidates[0], grant)
                if look is not None and look.answered:
                    held.release(0)
                    return self._replayed(look, grant, candidates[0], held)
                token = await self._reserve(decision, standing, grant, now, held)
        except BaseException:
            held.cancel()
            if look is not None:
                self._cache.abandon(look, grant_id)
            raise
        self._state.fleet.sent(endpoints[0], candidates[0].model.name)
        cache = "" if look is None else look.result.value
        # Of several models, the engine that answers names its own.
        if len(candidates) > 1:
            return Admitted(request_id, token, endpoints, "", held.quota, cache, fallbacks=_fallbacks(candidates))
        return Admitted(request_id, token, endpoints, candidates[0].model.name, held.quota, cache)

    async def _look_up(
        self, check: Check, standing: CallerContext, chosen: Candidate, grant: grant_pb2.Grant
    ) -> CacheLookup | None:
        """Looks for the answer where the request or its key asks for it; fits the grant to what is found."""
        headers = check.headers
        terms = self._cache.terms(headers, standing.key_ids)
        if terms is None:
            return None
        encoding = headers.get(b"grpc-encoding", b"").decode("latin-1")
        return await self._cache.look(
            terms,
            method=check.method,
            message=first_message(check.body, encoding=encoding, max_bytes=self._max_body_bytes),
            model=chosen.model,
            engine_id=chosen.endpoints[0].engine_id,
            grant=grant,
        )

    def _replayed(self, look: CacheLookup, grant: grant_pb2.Grant, chosen: Candidate, held: Held) -> Admitted:
        token = sign(grant, keys=self._grant_keys)
        return Admitted(
            grant.request_id, token, (), chosen.model.name, held.quota, look.result.value, self._cache.address
        )

    def _steer(
        self, ask: InferenceRequest, caller: Caller, headers: Mapping[bytes, bytes], request_id: str
    ) -> Steered | None:
        if self._steering.idle:
            return None
        user_id = caller.key.user_id or _named(headers, b"x-enginehouse-user-id") or ask.user_id
        subject = Subject(caller.tenant.tenant_id, caller.key.key_id, user_id, request_id)
        policy, catalog = self._state.policy, self._state.catalog

        def may_use(name: str) -> bool:
            model = catalog.get(name)
            return model is not None and policy.allows(caller, model)

        return self._steering.steer(ask, subject, may_use=may_use)

    def explain(self, caller: Caller, ask: InferenceRequest) -> Decision:
        """What would be decided, with every model weighed. Reserves nothing."""
        return decide(ask, caller, self._state, explain=True)

    async def _admit_other(self, check: Check) -> Admitted:
        """Grants a method that no price applies to; an engine can spend nothing on such a grant."""
        method, headers = check.method, check.headers
        service = _service(method)
        request_id = _given_id(headers, "") or new_id("req")
        if service == _HEALTH:
            # It tells what anybody on the listener can see anyway, and probes have no keys.
            return Admitted(request_id)
        now = self._clock()
        caller = self._callers.authenticate(headers, now_ms=now)
        _refuse_partial(headers)
        standing = self._standing_of(caller)
        if service in _REFLECTION:
            return Admitted(request_id)
        # Administration asks for scopes of its own, and notes who was refused.
        if not (service == _MODELS_SERVICE or service.startswith(_ROUTER_PACKAGE) or standing.infers):
            raise _scope_denied(caller, "inference")
        endpoints = self._state.fleet.of_service(service)
        if not endpoints:
            if service.startswith("enginehouse.api."):
                raise ServiceError(
                    Reason.NO_ENDPOINT,
                    f"no live engine serves {service}; start one, or retry shortly",
                    retry_after_s=1.0,
                )
            raise ServiceError(Reason.UNKNOWN_METHOD, f"no method {method[:200]!r} is served here")
        held = await self._limiter.admit(standing.bounds(method, ""), tokens=0)
        held.release(0)
        grant = self._grant(standing, method, (), new_id("grn"), request_id, now, headers, "")
        return Admitted(request_id, sign(grant, keys=self._grant_keys), endpoints, "", held.quota)

    def _standing_of(self, caller: Caller) -> CallerContext:
        """What follows from the key alone, worked out once and again when the key changes."""
        standing = self._standings.get(caller.key.key_id)
        if standing is None or standing.caller is not caller:
            if len(self._standings) >= _MOST_STANDINGS:
                self._standings.clear()
            standing = self._standings[caller.key.key_id] = CallerContext(
                caller, ancestors=self._callers.ancestors(caller), tier=self._state.policy.tier(caller)
            )
        return standing

    async def _reserve(
        self, decision: Decision, standing: CallerContext, grant: grant_pb2.Grant, now: int, held: Held
    ) -> str:
        """Reserves the request's bound and signs the grant for it."""
        principal, cap, grant_id, expires = grant.principal, decision.bound_nanos, grant.grant_id, grant.expires_at_ms
        payer = standing.payer
        if principal.user_id or principal.run_id:
            payer = standing.payer_of(principal)
        try:
            if principal.run_id and not self._run_caps.held(standing.keys, principal.run_id, now_ms=now):
                await self._run_caps.fetch(standing.keys, principal.run_id)
            reserved = self._ledger.try_reserve(
                payer, grant_id=grant_id, cap_nanos=cap, now_ms=now, expires_at_ms=expires
            )
            if isinstance(reserved, Shortfall):
                reserved = await self._ledger.reserve(
                    payer, grant_id=grant_id, cap_nanos=cap, now_ms=now, expires_at_ms=expires
                )
        except BudgetExhausted as error:
            self._refusals.refused(error.budget.budget_id, error.budget.period.window_start_ms(now))
            raise _exhausted(error, cap) from None
        except LedgerUnavailable as error:
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE,
                f"the request cannot be paid for now: {error}; retry shortly",
                retry_after_s=1.0,
            ) from None
        try:
            # The replica may have registered anew while a draw was waited for.
            grant.replica_id = self._ledger.replica_id
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
        return reserved.token

    def _grant(
        self,
        standing: CallerContext,
        method: str,
        candidates: Sequence[Candidate],
        grant_id: str,
        request_id: str,
        now: int,
        headers: Mapping[bytes, bytes],
        user_id: str,
    ) -> grant_pb2.Grant:
        """A grant to spend nothing on, yet. What is the same each time is parsed from bytes made once."""
        if standing.prices_version != self._state.prices.version:
            standing.templates.clear()
            standing.prices_version = self._state.prices.version
        kind: tuple[str | Offer, ...] = method, *[one.offer for one in candidates]
        template = standing.templates.get(kind)
        if template is None:
            made = grant_pb2.Grant(attempt=1, method=method, principal=standing.principal)
            for one in candidates:
                prices = [unit_price(unit, price) for unit, price in one.offer.prices.items()]
                made.candidates.add(model=one.model.name, prices=prices)
            # Methods that no engine serves are as many as a caller likes.
            template = made.SerializeToString()
            if candidates:
                standing.templates[kind] = template
        grant = grant_pb2.Grant.FromString(template)
        grant.grant_id = grant_id
        grant.request_id = request_id
        grant.issued_at_ms = now
        grant.accept_by_ms = now + self._accept_window_ms
        grant.expires_at_ms = now + self._grant_ttl_ms
        grant.replica_id = self._ledger.replica_id
        if b"x-enginehouse-attempt" in headers:
            grant.attempt = _attempt(headers)
        if user_id or b"x-enginehouse-user-id" in headers or b"x-enginehouse-run-id" in headers:
            standing.name(
                grant.principal,
                user_id=_named(headers, b"x-enginehouse-user-id") or user_id,
                run_id=_named(headers, b"x-enginehouse-run-id"),
            )
        return grant


def _fallbacks(candidates: Sequence[Candidate]) -> str:
    first, *others = candidates
    return ", ".join([f"{one.model.name};difference_nanos={one.bound_nanos - first.bound_nanos}" for one in others])


def _refuse_partial(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"x-envoy-auth-partial-body") == b"true":
        raise ServiceError(Reason.REQUEST_TOO_LARGE, "the body is larger than the gateway passes on; send less")


def _service(method: str) -> str:
    service, slash, name = method[1:].partition("/")
    if not method.startswith("/") or not slash or not name or "/" in name:
        raise ServiceError(Reason.UNKNOWN_METHOD, f"{method[:200]!r} is not a method; write '/package.Service/Method'")
    return service


def given_request_id(headers: Mapping[bytes, bytes]) -> str:
    """The request id in the headers, or a new one where there is none that is well-formed."""
    given = headers.get(b"x-enginehouse-request-id", b"").decode("latin-1")
    return given if _ID(given) else new_id("req")


def _given_id(headers: Mapping[bytes, bytes], from_body: str) -> str:
    """The request id that the caller chose, or nothing."""
    given = headers[b"x-enginehouse-request-id"].decode("latin-1") if b"x-enginehouse-request-id" in headers else ""
    given = given or from_body
    if given and not _ID(given):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"request_id: {given[:64]!r} must be 1-64 characters of [A-Za-z0-9_-]; leave it out to be given one",
        )
    return given


def _attempt(headers: Mapping[bytes, bytes]) -> int:
    given = headers.get(b"x-enginehouse-attempt")
    if given is None:
        return 1
    if not given.isdigit() or not 1 <= int(given[:8]) <= _MOST_ATTEMPTS:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-attempt: {given[:32]!r} must be a whole number from 1 to {_MOST_ATTEMPTS}",
        )
    return int(given)


def _named(headers: Mapping[bytes, bytes], name: bytes) -> str:
    given = headers.get(name)
    if not given:
        return ""
    text = given.decode("latin-1")
    if not _PERSON(text):
        raise ServiceError(
            Reason.INVALID_REQUEST, f"{name.decode()}: must be 1-128 printable ASCII characters without spaces"
        )
    return text


def _scope_denied(caller: Caller, needed: str) -> ServiceError:
    has = ", ".join(caller.key.scopes) or "none"
    return ServiceError(
        Reason.SCOPE_DENIED, f"the key {caller.key.key_id} has the scopes {has}, and this method needs {needed}"
    )


def _exhausted(error: BudgetExhausted, cap: int) -> ServiceError:
    budget = error.budget
    return ServiceError(
        Reason.BUDGET_EXHAUSTED,
        f"the {budget.period} budget of the {budget.scope} {budget.scope_id} cannot pay for this request, which may "
        f"cost up to {cap} nano-dollars; raise the budget, or ask for less output",
        metadata={
            "scope": str(budget.scope),
            "scope_id": budget.scope_id,
            "budget_id": budget.budget_id,
            "period": str(budget.period),
            "needed_nanos": str(cap),
        },
    )

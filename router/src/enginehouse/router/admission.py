"""Admits a request: who is it, may they, what will it be, can they pay; and gives out the signed grant.

The one place where a decision's parts meet. Nothing here waits for a network, except a draw when a lease runs dry.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.router.asks import Ask, Purpose, parse_ask
from enginehouse.router.clock import Clock
from enginehouse.router.decide import Decision, State, decide
from enginehouse.router.endpoints import Endpoint
from enginehouse.router.identity import KEY_PREFIX, Caller, KeyIndex
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import BudgetExhausted, Ledger, LedgerUnavailable, Scope, Shortfall
from enginehouse.router.limits import Bounds, Held, Limiter, Quota

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_PERSON = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
_MOST_ATTEMPTS = 1000
_SPEND = frozenset({"spend", "admin"})
_INFER = frozenset({"inference"})
_ADMIN_SERVICE = "enginehouse.api.router.v1.AdminService"
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
    """An admitted request. `token` is empty where no grant is needed."""

    request_id: str
    token: str = ""
    endpoints: Sequence[Endpoint] = ()
    model: str = ""
    quota: Quota | None = None


class Admission:
    """Admits requests for one replica.

    Args:
        state: what decisions look at.
        keys: who callers are.
        limiter: rates and concurrency.
        ledger: money.
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
        keys: KeyIndex,
        limiter: Limiter,
        ledger: Ledger,
        grant_keys: GrantKeys,
        clock: Clock,
        accept_window_s: float,
        grant_ttl_s: float,
        max_body_bytes: int,
    ) -> None:
        self._state = state
        self._keys = keys
        self._limiter = limiter
        self._ledger = ledger
        self._grant_keys = grant_keys
        self._clock = clock
        self._accept_window_ms = int(accept_window_s * 1000)
        self._grant_ttl_ms = int(grant_ttl_s * 1000)
        self._max_body_bytes = max_body_bytes
        self._prices = {
            model.name: [
                usage_pb2.UnitPrice(unit=unit, nanos_per_million=price) for unit, price in sorted(model.prices.items())
            ]
            for model in state.catalog.models
        }

    async def admit(self, check: Check) -> Admitted:
        """Admits the request. Raises ServiceError with the reason of a refusal."""
        method, headers = check.method, check.headers
        service = _service(method)
        if service == _HEALTH:
            # It tells what anybody on the listener can see anyway, and probes have no keys.
            return Admitted(_request_id(headers, ""))
        now = self._clock()
        caller = self._caller(headers, now)
        if headers.get(b"x-envoy-auth-partial-body") == b"true":
            raise ServiceError(Reason.REQUEST_TOO_LARGE, "the body is larger than the gateway passes on; send less")
        encoding = headers.get(b"grpc-encoding", b"").decode("latin-1")
        ask = parse_ask(method, check.body, encoding=encoding, max_bytes=self._max_body_bytes)
        request_id = _request_id(headers, ask.request_id)
        if ask.purpose is Purpose.OTHER:
            return self._admit_other(service, method, caller, headers, request_id, now)
        if not _INFER.intersection(caller.key.scopes):
            raise _scope_denied(caller, "inference")
        decision = decide(ask, caller, self._state)
        if decision.refusal is not None:
            raise decision.refusal
        assert decision.model is not None
        held = self._limiter.admit(self._bounds(caller), tokens=decision.tokens)
        try:
            principal = _principal(caller, headers, ask.user_id)
            if ask.purpose is Purpose.TOKENIZE:
                token = self._sign_free(request_id, headers, method, principal, decision.model, now)
                held.release(0)
            else:
                token = await self._reserve(decision, principal, request_id, headers, method, now, held)
        except BaseException:
            held.cancel()
            raise
        decision.endpoints[0].assigned += 1
        return Admitted(request_id, token, decision.endpoints, decision.model.name, held.quota)

    def explain(self, caller: Caller, ask: Ask) -> Decision:
        """What would be decided, with every model weighed. Reserves nothing."""
        return decide(ask, caller, self._state, explain=True)

    def _admit_other(
        self, service: str, method: str, caller: Caller, headers: Mapping[bytes, bytes], request_id: str, now: int
    ) -> Admitted:
        """Grants a method that no price applies to; an engine can spend nothing on such a grant."""
        if service in _REFLECTION:
            return Admitted(request_id)
        if service == _ADMIN_SERVICE:
            if not _SPEND.intersection(caller.key.scopes):
                raise _scope_denied(caller, "spend or admin")
        elif service != _MODELS_SERVICE and not _INFER.intersection(caller.key.scopes):
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
        held = self._limiter.admit(self._bounds(caller), tokens=0)
        held.release(0)
        token = self._sign_free(request_id, headers, method, _principal(caller, headers, ""), None, now)
        return Admitted(request_id, token, endpoints, "", held.quota)

    def _caller(self, headers: Mapping[bytes, bytes], now: int) -> Caller:
        given = headers.get(b"authorization")
        if given is not None:
            scheme, _, secret = given.partition(b" ")
            if scheme.lower() != b"bearer":
                raise ServiceError(
                    Reason.KEY_MISSING,
                    f"send the API key as 'authorization: Bearer {KEY_PREFIX}...'; other schemes are not taken",
                )
        else:
            secret = headers.get(b"x-api-key", b"")
        secret = secret.strip()
        if not secret:
            raise ServiceError(
                Reason.KEY_MISSING,
                f"no API key; send 'authorization: Bearer {KEY_PREFIX}...' or 'x-api-key: {KEY_PREFIX}...'",
            )
        if not self._keys.loaded:
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE,
                "the router has not been able to read its keys from the database yet; retry shortly",
                retry_after_s=1.0,
            )
        caller = self._keys.authenticate(secret.decode("latin-1"), now_ms=now)
        if caller is None:
            raise ServiceError(
                Reason.KEY_INVALID,
                "the API key is unknown, revoked or expired; make another with 'enginehouse keys create'",
            )
        return caller

    def _bounds(self, caller: Caller) -> Sequence[Bounds]:
        key, tier = caller.key, self._state.policy.tier(caller)
        return (
            Bounds(key.key_id, "key", key.requests_per_minute, key.tokens_per_minute, key.concurrency),
            Bounds(
                caller.tenant.tenant_id, "tenant", tier.requests_per_minute, tier.tokens_per_minute, tier.concurrency
            ),
        )

    async def _reserve(
        self,
        decision: Decision,
        principal: grant_pb2.Principal,
        request_id: str,
        headers: Mapping[bytes, bytes],
        method: str,
        now: int,
        held: Held,
    ) -> str:
        model = decision.model
        assert model is not None
        scopes = _scopes(principal)
        grant_id, cap, expires = new_id("grn"), decision.bound_nanos, now + self._grant_ttl_ms
        try:
            reserved = self._ledger.try_reserve(
                scopes, grant_id=grant_id, cap_nanos=cap, now_ms=now, expires_at_ms=expires
            )
            if isinstance(reserved, Shortfall):
                reserved = await self._ledger.reserve(
                    scopes, grant_id=grant_id, cap_nanos=cap, now_ms=now, expires_at_ms=expires
                )
        except BudgetExhausted as error:
            raise _exhausted(error, cap) from None
        except LedgerUnavailable as error:
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE,
                f"the request cannot be paid for now: {error}; retry shortly",
                retry_after_s=1.0,
            ) from None
        try:
            grant = self._grant(grant_id, request_id, headers, method, principal, model, now, cap_nanos=cap)
            for account in reserved.accounts:
                grant.funding.add(
                    budget_id=account.budget.budget_id,
                    lease_id=account.lease_id,
                    window_start_ms=account.window_start_ms,
                )
            token = sign(grant, keys=self._grant_keys)
        except BaseException:
            self._ledger.cancel(reserved)
            raise
        reserved.token = token
        reserved.on_close = held.release
        return token

    def _sign_free(
        self,
        request_id: str,
        headers: Mapping[bytes, bytes],
        method: str,
        principal: grant_pb2.Principal,
        model: CatalogModel | None,
        now: int,
    ) -> str:
        """A grant to spend nothing on."""
        grant = self._grant(new_id("grn"), request_id, headers, method, principal, model, now, cap_nanos=0)
        return sign(grant, keys=self._grant_keys)

    def _grant(
        self,
        grant_id: str,
        request_id: str,
        headers: Mapping[bytes, bytes],
        method: str,
        principal: grant_pb2.Principal,
        model: CatalogModel | None,
        now: int,
        *,
        cap_nanos: int,
    ) -> grant_pb2.Grant:
        candidates = []
        if model is not None:
            prices = self._prices[model.name]
            candidates.append(grant_pb2.GrantCandidate(model=model.name, prices=prices, cap_nanos=cap_nanos))
        return grant_pb2.Grant(
            grant_id=grant_id,
            request_id=request_id,
            attempt=_attempt(headers),
            method=method,
            principal=principal,
            candidates=candidates,
            issued_at_ms=now,
            accept_by_ms=now + self._accept_window_ms,
            expires_at_ms=now + self._grant_ttl_ms,
            replica_id=self._ledger.replica_id,
        )


def _service(method: str) -> str:
    service, slash, name = method[1:].partition("/")
    if not method.startswith("/") or not slash or not name or "/" in name:
        raise ServiceError(Reason.UNKNOWN_METHOD, f"{method[:200]!r} is not a method; write '/package.Service/Method'")
    return service


def given_request_id(headers: Mapping[bytes, bytes]) -> str:
    """The request id in the headers, or a new one where there is none that is well-formed."""
    given = headers.get(b"x-enginehouse-request-id", b"").decode("latin-1")
    return given if _ID(given) else new_id("req")


def _request_id(headers: Mapping[bytes, bytes], from_body: str) -> str:
    given = headers.get(b"x-enginehouse-request-id", b"").decode("latin-1") or from_body
    if not given:
        return new_id("req")
    if not _ID(given):
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


def _principal(caller: Caller, headers: Mapping[bytes, bytes], user_id: str) -> grant_pb2.Principal:
    key = caller.key
    return grant_pb2.Principal(
        tenant_id=key.tenant_id,
        key_id=key.key_id,
        user_id=_named(headers, b"x-enginehouse-user-id") or user_id,
        run_id=_named(headers, b"x-enginehouse-run-id"),
        scopes=key.scopes,
        tier=caller.tenant.tier,
    )


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


def _scopes(principal: grant_pb2.Principal) -> list[tuple[str, str]]:
    """What a request is charged to: its tenant and key, and the user and run that it names, which are the tenant's."""
    tenant_id = principal.tenant_id
    scopes: list[tuple[str, str]] = [(Scope.TENANT, tenant_id), (Scope.KEY, principal.key_id)]
    if principal.user_id:
        scopes.append((Scope.USER, f"{tenant_id}/{principal.user_id}"))
    if principal.run_id:
        scopes.append((Scope.RUN, f"{tenant_id}/{principal.run_id}"))
    return scopes


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

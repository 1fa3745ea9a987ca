"""The grants of admitted requests, before money is reserved for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.pricing import Unit, in_order, unit_named, unit_price
from enginehouse.router.admission.admitting import Admitting
from enginehouse.router.admission.caller_context import CallerContext
from enginehouse.router.admission.request_headers import attempt, user_or_run
from enginehouse.router.decision.decision import Candidate
from enginehouse.router.prices import Offer, PriceBook


class GrantBuilder:
    """Builds grants to spend nothing on, yet. What is the same each time is parsed from bytes made once.

    Args:
        contracts: the units that each method counts.
        prices: what callers pay now.
        replica_id: returns the ledger's registration.
        accept_window_s: how long an engine may wait to start on a grant.
        grant_ttl_s: how long it may go on spending.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        prices: PriceBook,
        replica_id: Callable[[], str],
        accept_window_s: float,
        grant_ttl_s: float,
    ) -> None:
        self._contracts = contracts
        self._prices = prices
        self._replica_id = replica_id
        self._accept_window_ms = int(accept_window_s * 1000)
        self._grant_ttl_ms = int(grant_ttl_s * 1000)

    def build(self, admitting: Admitting, candidates: Sequence[Candidate]) -> grant_pb2.Grant:
        """Return the unsigned grant for a request.

        Args:
            admitting: the request.
            candidates: the models that may serve it; none for a method that no price applies to.

        Raises:
            ServiceError: INVALID_REQUEST for a bad header, SCOPE_DENIED for a user or run that the key is not for.
        """
        headers, now, request = admitting.check.headers, admitting.now_ms, admitting.request
        grant = grant_pb2.Grant.FromString(self._template(admitting.caller, admitting.check.method, candidates))
        grant.grant_id = admitting.grant_id
        grant.request_id = admitting.request_id
        self.issue(grant, now_ms=now)
        grant.replica_id = self._replica_id()
        if b"x-enginehouse-attempt" in headers:
            grant.attempt = attempt(headers)
        user_id = "" if request is None else request.user_id
        if user_id or b"x-enginehouse-user-id" in headers or b"x-enginehouse-run-id" in headers:
            admitting.caller.name(
                grant.principal,
                user_id=user_or_run(headers, b"x-enginehouse-user-id") or user_id,
                run_id=user_or_run(headers, b"x-enginehouse-run-id"),
            )
        return grant

    def issue(self, grant: grant_pb2.Grant, *, now_ms: int) -> None:
        """Have a grant begin now: its engine has the whole window to start, and the whole time to spend."""
        grant.issued_at_ms = now_ms
        grant.accept_by_ms = now_ms + self._accept_window_ms
        grant.expires_at_ms = now_ms + self._grant_ttl_ms

    def _template(self, caller: CallerContext, method: str, candidates: Sequence[Candidate]) -> bytes:
        if caller.prices_version != self._prices.version:
            caller.templates.clear()
            caller.prices_version = self._prices.version
        kind: tuple[str | Offer, ...] = method, *[candidate.offer for candidate in candidates]
        template = caller.templates.get(kind)
        if template is None:
            made = grant_pb2.Grant(attempt=1, method=method, principal=caller.principal)
            for candidate in candidates:
                # An engine counts a unit of its own contract only where the grant lists it.
                listed = {**dict.fromkeys(self._own_units(method), 0), **candidate.offer.prices}
                prices = [unit_price(unit, price) for unit, price in in_order(listed)]
                made.candidates.add(model=candidate.model.name, prices=prices)
            template = made.SerializeToString()
            # Methods that no engine serves are as many as a caller likes.
            if candidates:
                caller.templates[kind] = template
        return template

    def _own_units(self, path: str) -> list[Unit]:
        method = self._contracts.methods.get(path)
        units = () if method is None else method.units
        return [unit_named(unit.name) for unit in units]

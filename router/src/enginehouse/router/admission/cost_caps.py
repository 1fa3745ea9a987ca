"""Caps besides budgets: the most that one request may cost, and the budget that each run of a key begins with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.decision.decide import Candidate
from enginehouse.router.identity import Key
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, LedgerUnavailable, Period, Scope
from enginehouse.router.request import InferenceRequest

MAX_COST_HEADER = b"x-enginehouse-max-cost-nanos"


def lowest_cap(keys: Sequence[Key]) -> int | None:
    """The most that any request may cost that these keys stand for, in nano-dollars."""
    return min([key.max_request_nanos for key in keys if key.max_request_nanos], default=None)


def request_cap(headers: Mapping[bytes, bytes], cap: int | None) -> int | None:
    """The most that the request may cost, in nano-dollars: its keys' cap or the caller's own, whichever is lower.

    Raises:
        ServiceError: INVALID_REQUEST for a header that is no amount.
    """
    given = headers.get(MAX_COST_HEADER)
    if given is None:
        return cap
    if not given.isdigit() or len(given) > 19 or int(given) > MAX_NANOS:
        name = MAX_COST_HEADER.decode()
        wanted = f"{given[:32].decode('latin-1')!r} must be a whole number of nano-dollars from 0 to {MAX_NANOS}"
        raise ServiceError(Reason.INVALID_REQUEST, f"{name}: {wanted}", violations=[FieldViolation(name, wanted)])
    return int(given) if cap is None else min(cap, int(given))


def capped(candidates: Sequence[Candidate], request: InferenceRequest, cap_nanos: int) -> tuple[Candidate, ...]:
    """The candidates with their bounds lowered to the cap; the engine stops there.

    One whose input alone surely costs more is left out. Whether the input fits exactly, only the engine knows, which
    has the model's tokenizer.

    Raises:
        ServiceError: BUDGET_EXHAUSTED with the scope "request" when none is left.
    """
    found = []
    least = MAX_NANOS
    for candidate in candidates:
        needed = candidate.offer.min_nanos(request)
        least = min(least, needed)
        if needed <= cap_nanos:
            lower = min(candidate.bound_nanos, cap_nanos)
            found.append(dataclasses.replace(candidate, bound_nanos=lower))
    if not found:
        raise ServiceError(
            Reason.BUDGET_EXHAUSTED,
            f"the request may cost {cap_nanos} nano-dollars, by its key or by {MAX_COST_HEADER.decode()}, and its "
            f"input alone costs at least {least}; allow more, or shorten it",
            metadata={"scope": "request", "cap_nanos": str(cap_nanos), "needed_nanos": str(least)},
        )
    return tuple(found)


def run_scopes(keys: Sequence[Key], run_id: str) -> list[tuple[str, str]]:
    """Return the run's budgets besides its own: one for each key that caps its runs, `TENANT/KEY RUN`.

    Run ids have no spaces, so no run can be named to be charged to another's cap.
    """
    return [(Scope.RUN, f"{key.tenant_id}/{key.key_id} {run_id}") for key in keys if key.run_cap_nanos]


class RunCaps:
    """The budgets of runs: each run of a key that caps its runs has one before its first request is paid for.

    There are as many as there are runs, so a replica holds those alone that it has seen lately; the rest are in
    PostgreSQL.

    Args:
        store: where they are made.
        index: where they are held.
        clock: milliseconds since 1970 UTC.
        idle_s: after so long without a request a run's budget is held no longer.
    """

    def __init__(self, *, store: BudgetStore, index: BudgetIndex, clock: Clock, idle_s: float = 600.0) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._idle_ms = int(idle_s * 1000)
        self._used: dict[str, int] = {}

    def held(self, keys: Sequence[Key], run_id: str, *, now_ms: int) -> bool:
        """Return whether every budget that the run needs is in memory. Notes that they are used."""
        held = True
        for scope, scope_id in run_scopes(keys, run_id):
            self._used[scope_id] = now_ms
            held = held and bool(self._index.of(scope, scope_id))
        return held

    async def fetch(self, keys: Sequence[Key], run_id: str) -> None:
        """Make the run's budgets, or find those that are there. Raises LedgerUnavailable."""
        capping = [key for key in keys if key.run_cap_nanos]
        for key, (scope, scope_id) in zip(capping, run_scopes(keys, run_id), strict=True):
            if self._index.of(scope, scope_id):
                continue
            wanted = Budget(
                budget_id=new_id("bud"),
                tenant_id=key.tenant_id,
                scope=Scope.RUN,
                scope_id=scope_id,
                period=Period.LIFETIME,
                limit_nanos=key.run_cap_nanos,
                created_at_ms=self._clock(),
                automatic=True,
            )
            try:
                with translate_db_errors():
                    budget = await self._store.make(wanted)
            except DatabaseUnavailable as error:
                raise LedgerUnavailable("the ledger's database does not answer") from error
            self._index.put(budget.budget_id, budget)

    def forget_idle(self) -> None:
        """Drop the budgets of runs that have not been seen for a while."""
        before = self._clock() - self._idle_ms
        for scope_id in [scope_id for scope_id, used in self._used.items() if used < before]:
            del self._used[scope_id]
            for budget in self._index.of(Scope.RUN, scope_id):
                if budget.automatic:
                    self._index.put(budget.budget_id, None)

"""Caps besides budgets: the most that one request may cost, and the budget that each run of a key begins with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.asks import Ask
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseAway, answering
from enginehouse.router.decide import Candidate
from enginehouse.router.identity import Key
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, LedgerUnavailable, Period, Scope

MAX_COST_HEADER = b"x-enginehouse-max-cost-nanos"


def request_cap(headers: Mapping[bytes, bytes], key: Key) -> int | None:
    """The most that the request may cost, in nano-dollars: the key's cap or the caller's, whichever is lower.

    Raises:
        ServiceError: INVALID_REQUEST for a header that is no amount.
    """
    cap = key.max_request_nanos or None
    given = headers.get(MAX_COST_HEADER)
    if given is None:
        return cap
    if not given.isdigit() or len(given) > 19 or int(given) > MAX_NANOS:
        name = MAX_COST_HEADER.decode()
        wanted = f"{given[:32].decode('latin-1')!r} must be a whole number of nano-dollars from 0 to {MAX_NANOS}"
        raise ServiceError(Reason.INVALID_REQUEST, f"{name}: {wanted}", violations=[FieldViolation(name, wanted)])
    return int(given) if cap is None else min(cap, int(given))


def capped(candidates: Sequence[Candidate], ask: Ask, cap_nanos: int) -> list[Candidate]:
    """The candidates with their bounds lowered to the cap; the engine stops there.

    One whose input alone surely costs more is left out. Whether the input fits exactly, only the engine knows, which
    has the model's tokenizer.

    Raises:
        ServiceError: BUDGET_EXHAUSTED with the scope "request" when none is left.
    """
    found = []
    least = MAX_NANOS
    for candidate in candidates:
        needed = candidate.offer.least_nanos(ask)
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
    return found


class RunCaps:
    """Gives each run of a key that has a run cap its budget, before the run's first request is paid for."""

    def __init__(self, *, store: BudgetStore, index: BudgetIndex, clock: Clock) -> None:
        self._store = store
        self._index = index
        self._clock = clock

    def missing(self, key: Key, run_id: str) -> bool:
        """Whether the run still lacks a budget. In memory."""
        return bool(key.run_cap_nanos) and not self._index.of(Scope.RUN, f"{key.tenant_id}/{run_id}")

    async def make(self, key: Key, run_id: str) -> None:
        """Makes the run's budget, unless it has one by now. Raises LedgerUnavailable."""
        wanted = Budget(
            budget_id=new_id("bud"),
            tenant_id=key.tenant_id,
            scope=Scope.RUN,
            scope_id=f"{key.tenant_id}/{run_id}",
            period=Period.LIFETIME,
            limit_nanos=key.run_cap_nanos,
            created_at_ms=self._clock(),
        )
        try:
            with answering():
                budget = await self._store.make(wanted)
        except DatabaseAway as error:
            raise LedgerUnavailable("the ledger's database does not answer") from error
        self._index.put(budget.budget_id, budget)

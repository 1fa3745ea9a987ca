"""Returns: the free money of a lease goes back to its window, of itself once it is idle, at once if others ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from enginehouse.router.clock import Clock
from enginehouse.router.ledger._book import Account, Book
from enginehouse.router.ledger._budget_index import BudgetIndex
from enginehouse.router.ledger._draws import wait_for_draws
from enginehouse.router.ledger._store import LedgerStore
from enginehouse.router.ledger._terms import LedgerTerms
from enginehouse.router.ledger._waits import WANTED_MS

# How long what becomes free gathers before it goes back.
_GATHER_S = 0.02


class LeaseReturns:
    """The returns of one replica.

    Args:
        store: where budgets and leases are.
        budgets: the budgets that bound anybody.
        terms: after how long a lease is idle.
        clock: milliseconds since 1970 UTC.
        book: returns the accounts.
        spawn: runs a coroutine beside the caller.
    """

    def __init__(
        self,
        *,
        store: LedgerStore,
        budgets: BudgetIndex,
        terms: LedgerTerms,
        clock: Clock,
        book: Callable[[], Book],
        spawn: Callable[[Coroutine[Any, Any, object]], None],
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._terms = terms
        self._clock = clock
        self._book = book
        self._spawn = spawn
        self.lock = asyncio.Lock()
        """Held while a return's outcome, or a lease's row, is taken in: never both at the same time."""
        # Budgets of which free money is about to go back.
        self._gathering: set[str] = set()

    async def return_idle(self, *, budget_id: str = "") -> Sequence[Account]:
        """Give back what no longer has a use: of old windows, of removed budgets, and of leases without recent
        reservations; with a budget named, whatever is free of it.

        Returns the accounts of the named budget that were left as they are since a draw is under way.
        """
        now = self._clock()
        drawn_on = []
        for account in self._book().accounts():
            current = (
                account.budget.budget_id in self._budgets
                and account.window_start_ms == account.budget.period.window_start_ms(now)
            )
            asked = account.budget.budget_id == budget_id
            if account.drawing is not None or account.stale:
                if asked and account.drawing is not None:
                    drawn_on.append(account)
                continue
            if not asked and current and now - account.last_reserved_ms < self._terms.idle_s * 1000:
                continue
            if account.free > 0 and account.wanted == 0 and not account.is_kept:
                await self.give_back(account)
            elif not current and account.remaining == 0 and account.reserved == 0:
                self._book().drop(account)
        return drawn_on

    def return_requested(self, budget_id: str) -> None:
        """Give back what is free of a budget that another replica asks for, and for a while what becomes free of it."""
        now = self._clock()
        for account in self._book().accounts():
            if account.budget.budget_id == budget_id:
                account.wanted_elsewhere_ms = now
        self._spawn(self._return_free(budget_id))

    def return_freed(self, accounts: Iterable[Account]) -> None:
        """Give what others have just asked for as it becomes free: they refuse requests meanwhile."""
        now = self._clock()
        wanted = {
            account.budget.budget_id
            for account in accounts
            if now - account.wanted_elsewhere_ms < WANTED_MS and account.free > 0 and not account.is_kept
        }
        for budget_id in wanted:
            self._return_soon(budget_id)

    def _return_soon(self, budget_id: str) -> None:
        if budget_id not in self._gathering:
            self._gathering.add(budget_id)
            self._spawn(self._return_gathered(budget_id))

    async def _return_gathered(self, budget_id: str) -> None:
        try:
            # What settles within this time goes back in one transaction.
            await asyncio.sleep(_GATHER_S)
        finally:
            self._gathering.discard(budget_id)
        await self._return_free(budget_id)

    async def _return_free(self, budget_id: str) -> None:
        if drawn_on := await self.return_idle(budget_id=budget_id):
            # Nobody may ask again once the draws have ended.
            await wait_for_draws(drawn_on)
            self._return_soon(budget_id)

    async def give_back(self, account: Account) -> None:
        """Give back what is free of an account. Raises what the driver raises; the account is stale then."""
        async with self.lock:
            amount = account.free
            if amount <= 0 or account.stale:
                return
            account.returning += amount
            try:
                lease = await self._store.give_back(
                    lease_id=account.lease_id,
                    budget_id=account.budget.budget_id,
                    window_start_ms=account.window_start_ms,
                    amount_nanos=amount,
                )
            except BaseException:
                # Whether it committed is unknown, so it stays set aside until the row is read.
                account.stale = True
                raise
            if lease is None:
                account.stale = True
                return
            self._book().observe(lease.lease_id, remaining=lease.remaining, version=lease.version)
            account.returning -= amount

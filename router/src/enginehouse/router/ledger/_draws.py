"""Step 1: one replica draws leases on its budgets, and asks the others for what they hold idle before it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.ledger._book import Account, Book
from enginehouse.router.ledger._sizing import burst_target, refill_target
from enginehouse.router.ledger._store import DeclaredDead, LedgerStore
from enginehouse.router.ledger._terms import LedgerTerms, LedgerUnavailable

# After a window had nothing, wait before drawing in the background again, and before asking others for it again.
_REFUSED_PAUSE_MS = 1000


class LeaseDraws:
    """The draws of one replica, at most one at a time on each account.

    Args:
        store: where budgets and leases are.
        terms: times and sizes.
        clock: milliseconds since 1970 UTC.
        replica_id: returns the replica's registration.
        book: returns what takes a draw's outcome in.
        declared_dead: is called when the registration turns out to have run out.
    """

    def __init__(
        self,
        *,
        store: LedgerStore,
        terms: LedgerTerms,
        clock: Clock,
        replica_id: Callable[[], str],
        book: Callable[[], Book],
        declared_dead: Callable[[], None],
    ) -> None:
        self._store = store
        self._terms = terms
        self._clock = clock
        self._replica_id = replica_id
        self._book = book
        self._declared_dead = declared_dead
        self.count = 0
        """The number of draws so far."""

    async def recalled(self, account: Account) -> bool:
        """Ask the other replicas for what they hold idle before a request is refused for want of it, and wait for it;
        False where they were asked a moment ago: what there was has come.
        """
        recalling = account.recalling
        if recalling is None:
            now = self._clock()
            if now - account.recalled_at_ms <= _REFUSED_PAUSE_MS:
                return False
            account.recalled_at_ms = now
            recalling = account.recalling = asyncio.create_task(self._recall(account), name="ledger-recall")
            recalling.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(recalling)
        return True

    async def ask_others(self, account: Account) -> None:
        """Ask the other replicas for what they hold idle, unless they were asked a moment ago.

        Raises LedgerUnavailable.
        """
        now = self._clock()
        if now - account.recalled_at_ms > _REFUSED_PAUSE_MS:
            account.recalled_at_ms = now
            await self._ask_others(account)

    async def _ask_others(self, account: Account) -> None:
        try:
            with translate_db_errors():
                await self._store.request_return(account.budget.budget_id)
        except DatabaseUnavailable as error:
            raise LedgerUnavailable("the ledger's database does not answer") from error

    async def _recall(self, account: Account) -> None:
        try:
            await self._ask_others(account)
            await asyncio.sleep(self._terms.recall_s)
        finally:
            account.recalling = None

    async def wait_for(self, account: Account, cap_nanos: int) -> int:
        """Wait for a draw that counts this need in; return what it brought."""
        account.wanted += cap_nanos
        try:
            if account.drawing is not None:
                # It was sized before this need was known, but it may bring enough.
                await asyncio.shield(account.drawing)
                if account.free >= cap_nanos:
                    return 1
            if account.drawing is None:
                need = account.wanted - max(0, account.free)
                target = burst_target(
                    nanos_per_second=account.nanos_per_second, lease_s=self._terms.lease_s, cap_nanos=cap_nanos
                )
                self._begin_draw(account, need_nanos=need, target_nanos=target)
            drawing = account.drawing
            return await asyncio.shield(drawing) if drawing is not None else 0
        finally:
            account.wanted -= cap_nanos

    async def fill(self, account: Account, *, least_nanos: int, want_nanos: int) -> int:
        """Draw for those who wait in an account's queue, or wait for the draw under way; return what it brought.

        Less than the least is left in the window: it might be enough for somebody at another replica.
        """
        if account.drawing is None:
            self._begin_draw(account, need_nanos=want_nanos, target_nanos=0, least_nanos=least_nanos)
        drawing = account.drawing
        return await asyncio.shield(drawing) if drawing is not None else 0

    def refill(self, account: Account, now_ms: int) -> None:
        """Draw before the lease runs dry: below half of what the recent rate asks for."""
        target = refill_target(
            nanos_per_second=account.nanos_per_second, lease_s=self._terms.lease_s, free_nanos=account.free
        )
        if target > 0 and now_ms - account.refused_at_ms > _REFUSED_PAUSE_MS:
            self._begin_draw(account, need_nanos=0, target_nanos=target)

    def _begin_draw(self, account: Account, *, need_nanos: int, target_nanos: int, least_nanos: int = 1) -> None:
        async def run() -> int:
            try:
                return await self._draw(
                    account, need_nanos=need_nanos, target_nanos=target_nanos, least_nanos=least_nanos
                )
            finally:
                account.drawing = None

        account.drawing = asyncio.create_task(run(), name="ledger-draw")
        # A background draw that fails has nobody waiting; the next reservation will meet the same trouble.
        account.drawing.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _draw(self, account: Account, *, need_nanos: int, target_nanos: int, least_nanos: int) -> int:
        if not self._book().holds(account):
            # Of an earlier registration, or of a window that has passed: nobody would learn what was drawn.
            raise LedgerUnavailable("this router's lease on a budget was given up")
        self.count += 1
        try:
            with translate_db_errors():
                drawn = await self._store.draw(
                    replica_id=self._replica_id(),
                    lease_id=account.lease_id,
                    budget_id=account.budget.budget_id,
                    window_start_ms=account.window_start_ms,
                    need_nanos=need_nanos,
                    target_nanos=target_nanos,
                    share=self._terms.share,
                    least_nanos=least_nanos,
                )
        except DeclaredDead as error:
            self._declared_dead()
            raise LedgerUnavailable("this replica's registration ran out; it registers again") from error
        except DatabaseUnavailable as error:
            account.stale = True
            raise LedgerUnavailable("the ledger's database does not answer") from error
        if drawn.lease is None:
            account.refused_at_ms = self._clock()
            account.unspent = drawn.unspent_nanos
            account.held_elsewhere = max(0, drawn.leased_nanos - account.remaining)
            return 0
        self._book().observe(drawn.lease.lease_id, remaining=drawn.lease.remaining, version=drawn.lease.version)
        return drawn.granted_nanos


async def wait_for_draws(accounts: Iterable[Account]) -> None:
    """Wait until the draws on accounts that are under way have ended."""
    if draws := [account.drawing for account in accounts if account.drawing is not None]:
        await asyncio.wait(draws)

"""Step 2, where the leases do not suffice: draw, and where what is in flight could pay, wait for it in order.

Each account that somebody waits for has one task that draws for all of them, and refuses those that its budget cannot
pay any more, whatever comes back. What settles here wakes them without it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from enginehouse.kit.tasks import TaskSet
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.ledger._book import Account, Shortfall
from enginehouse.router.ledger._draws import LeaseDraws
from enginehouse.router.ledger._queue import AccountQueue, Waiter
from enginehouse.router.ledger._terms import InsufficientBudget, LedgerTerms, LedgerUnavailable

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

# How often one request may draw before it waits or is refused: others may take what it drew. A burst of a thousand
# takes what came first many times over, and must not be refused while the budget has money.
_DRAWS = 100
# The pause between draws for an account: the first, and the longest, to which it doubles while they bring nothing.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 0.2
# How often the window is looked at where nobody else holds anything of it, and nothing has become free here.
_LOOK_S = 0.5
# Draws for those who wait leave most of the connections to settlements, which free what they wait for.
_DRAWS_AT_ONCE = 2
WANTED_MS = 3000
"""How long after others asked for a budget what becomes free of it goes back at once."""


class BudgetWaits:
    """The requests of one replica that wait for money.

    Args:
        draws: brings money from the window.
        exists: returns whether a budget, by its id, still bounds anybody.
        give_back: returns what is free of an account to the window.
        catch_up: takes in what other replicas settled, where an account's row has not been read since.
        hurry: settles what is queued without gathering more.
        unawaited: is told of an account for which nobody waits any more.
        terms: how many may wait.
        clock: milliseconds since 1970 UTC.
        monotonic: seconds, for how long a request has waited.
        ended: is told how long each has waited, in seconds, and whether it got its money.
    """

    def __init__(
        self,
        *,
        draws: LeaseDraws,
        exists: Callable[[str], bool],
        give_back: Callable[[Account], Awaitable[object]],
        catch_up: Callable[[], Awaitable[object]],
        hurry: Callable[[], None],
        unawaited: Callable[[Account], None],
        terms: LedgerTerms,
        clock: Clock,
        monotonic: Callable[[], float],
        ended: Callable[[float, bool], None],
    ) -> None:
        self._draws = draws
        self._exists = exists
        self._give_back = give_back
        self._catch_up = catch_up
        self._hurry = hurry
        self._unawaited = unawaited
        self._terms = terms
        self._clock = clock
        self._monotonic = monotonic
        self._ended = ended
        self._numbers = itertools.count()
        self._room = asyncio.Semaphore(_DRAWS_AT_ONCE)
        self._tasks = TaskSet()
        self.waiting = 0
        """How many wait now."""

    async def obtain(
        self,
        *,
        accounts: Callable[[], Sequence[Account]],
        take: Callable[[bool, int], _T | Shortfall],
        asks_nanos: int,
        limit_s: float,
        urgent: bool = False,
        lower: Callable[[int | None], Awaitable[int]] | None = None,
    ) -> tuple[_T, int]:
        """Take money from every account at once, after draws and waiting.

        Returns what `take` returned, and how many milliseconds it waited for what was in flight.

        Args:
            accounts: returns those that pay, as they are now.
            take: takes the money from all of them or none; is told whether it is this request's turn in the queue, and
                how much.
            asks_nanos: what is needed of each.
            limit_s: how long to wait at most for what is in flight; 0 not to.
            urgent: goes before those that are not.
            lower: returns how much is enough, once, before this request waits or is refused; is told what is not spent
                of the budget, None if it is not known.

        Raises:
            InsufficientBudget: the budget has too little, or what is in flight was not free in time; nothing is taken.
            LedgerUnavailable: from `take`, or a draw.
        """
        began = self._monotonic()
        # Whoever may wait has its place in the queue after one draw that others took; the queue draws on.
        draws = _DRAWS if limit_s <= 0 else 2
        while draws:
            draws -= 1
            taken = take(False, asks_nanos)
            if not isinstance(taken, Shortfall):
                return taken, 0
            account = taken.account
            drew = account.queue is None and (
                await self._draws.wait_for(account, asks_nanos) or account.free >= asks_nanos
            )
            if not drew and lower is not None:
                enough, lower = await lower(account.unspent), None
                if enough < asks_nanos:
                    asks_nanos, draws = enough, draws + 1
                    continue
            if account.queue is not None:
                break
            if not drew:
                if not self._exists(account.budget.budget_id):
                    # It was removed while we drew on it.
                    continue
                in_flight = account.unspent is not None and account.unspent >= asks_nanos
                if in_flight and limit_s > 0:
                    break
                # Nobody can give back what is spent.
                if not in_flight or not await self._draws.recalled(account):
                    raise InsufficientBudget(account.budget, in_flight=in_flight)
        if limit_s <= 0:
            raise InsufficientBudget(account.budget, in_flight=True)
        if self.waiting >= self._terms.budget_waiters and not urgent:
            raise InsufficientBudget(account.budget, in_flight=True, ahead=self.waiting)
        return await self._wait(
            accounts=accounts,
            take=lambda: take(True, asks_nanos),
            asks_nanos=asks_nanos,
            began=began,
            limit_s=limit_s,
            urgent=urgent,
        )

    async def _wait(
        self,
        *,
        accounts: Callable[[], Sequence[Account]],
        take: Callable[[], _T | Shortfall],
        asks_nanos: int,
        began: float,
        limit_s: float,
        urgent: bool,
    ) -> tuple[_T, int]:
        waiter = Waiter(asks_nanos=asks_nanos, order=next(self._numbers), urgent=urgent)
        joined: list[Account] = []
        served = False
        self.waiting += 1
        # No `asyncio.timeout`: a check that has waited for nothing before this has no task yet.
        limit = asyncio.get_running_loop().call_later(began + limit_s - self._monotonic(), waiter.give_up)
        try:
            while True:
                paying = accounts()
                lacking = _lacking(waiter, paying)
                if not lacking:
                    taken = take()
                    if not isinstance(taken, Shortfall):
                        served = True
                        return taken, self._elapsed_ms(began)
                    lacking = [taken.account]
                waiter.first_lack = min([account.budget.budget_id for account in lacking])
                for account in [account for account in joined if account not in paying]:
                    # Of a window that has passed, or of a registration that ran out.
                    joined.remove(account)
                    self._leave(waiter, account)
                for account in lacking:
                    if account not in joined:
                        self._join(waiter, account)
                        joined.append(account)
                if not await waiter.woken():
                    raise InsufficientBudget(lacking[0].budget, in_flight=True)
        except InsufficientBudget as error:
            error.waited_ms = self._elapsed_ms(began)
            raise
        finally:
            limit.cancel()
            self.waiting -= 1
            for account in joined:
                self._leave(waiter, account)
            self._ended(self._monotonic() - began, served)

    async def close(self) -> None:
        """Stop drawing for those who wait."""
        await self._tasks.close()

    def _elapsed_ms(self, began_s: float) -> int:
        return round((self._monotonic() - began_s) * 1000)

    def _join(self, waiter: Waiter, account: Account) -> None:
        """Wait for an account's money, at the place that the waiter came in."""
        queue = account.queue
        if queue is None:
            queue = account.queue = AccountQueue()
            # Reports that come while it is there do not gather.
            self._hurry()
            self._tasks.spawn(self._fill(account, queue), name="ledger-fill")
        elif not waiter.urgent and len(queue) >= self._terms.budget_waiters_per_account:
            raise InsufficientBudget(account.budget, in_flight=True, ahead=len(queue))
        elif queue.looked and account.unspent is not None and account.unspent < waiter.asks_nanos:
            raise InsufficientBudget(account.budget)
        queue.add(waiter)

    def _leave(self, waiter: Waiter, account: Account) -> None:
        """Wait for an account's money no longer; who is behind may have enough now."""
        queue = account.queue
        assert queue is not None
        queue.remove(waiter)
        if len(queue):
            queue.serve(account.free)
        else:
            account.queue = None
            self._unawaited(account)

    async def _fill(self, account: Account, queue: AccountQueue) -> None:
        """Bring an account's queue what the window has, until nobody waits any more."""
        pause_s, looked_s = _FIRST_PAUSE_S, 0.0
        while account.queue is queue:
            if account.budget.period.window_start_ms(self._clock()) != account.window_start_ms:
                queue.wake_all()
            else:
                now_s = self._monotonic()
                due = queue.stirred or account.held_elsewhere or not queue.looked or now_s - looked_s >= _LOOK_S
                if due and queue.lacking(account.free):
                    pause_s = _FIRST_PAUSE_S if queue.stirred else min(2 * pause_s, _MAX_PAUSE_S)
                    queue.stirred, looked_s = False, now_s
                await self._try(account, queue, self._look if due else self._share)
            await asyncio.sleep(pause_s)

    async def _try(
        self, account: Account, queue: AccountQueue, step: Callable[[Account, AccountQueue], Awaitable[None]]
    ) -> None:
        try:
            with translate_db_errors():
                await step(account, queue)
        except (LedgerUnavailable, DatabaseUnavailable):
            _refuse_all(queue, "the ledger's database does not answer")
        except Exception:
            _log.exception("a draw for requests that wait failed")
            _refuse_all(queue, "a draw on a budget failed")

    async def _look(self, account: Account, queue: AccountQueue) -> None:
        """Draw for all who wait, or find out who waits in vain."""
        if account.stale and account.drawing is None:
            await self._catch_up()
        lacking = queue.lacking(account.free)
        if lacking and account.is_kept:
            async with self._room:
                want = queue.asked - account.free
                if await self._draws.fill(account, least_nanos=lacking, want_nanos=max(lacking, want)):
                    return
            queue.looked = True
            if account.unspent is None:
                # The budget was removed, and does not bound them any more.
                queue.wake_all()
                return
            for waiter in queue.waiters:
                if account.unspent < waiter.asks_nanos:
                    waiter.refuse(InsufficientBudget(account.budget))
            if account.held_elsewhere:
                await self._draws.ask_others(account)
        await self._share(account, queue)

    async def _share(self, account: Account, queue: AccountQueue) -> None:
        """Give back what is of no use here now, and may be what somebody lacks elsewhere."""
        if account.free <= 0:
            return
        if account.is_kept:
            # Nothing that runs here will add to it.
            useless = queue.lacking(account.free) and not account.reserved and account.held_elsewhere
        else:
            useless = self._clock() - account.wanted_elsewhere_ms < WANTED_MS
        if useless:
            await self._give_back(account)


def _refuse_all(queue: AccountQueue, why: str) -> None:
    for waiter in queue.waiters:
        waiter.refuse(LedgerUnavailable(why))


def _lacking(waiter: Waiter, accounts: Sequence[Account]) -> list[Account]:
    """Return the accounts that leave too little for a waiter, after those ahead of it."""
    found = []
    for account in accounts:
        set_aside = 0 if account.queue is None else account.queue.set_aside(waiter)
        if account.free - set_aside < waiter.asks_nanos:
            found.append(account)
    return found

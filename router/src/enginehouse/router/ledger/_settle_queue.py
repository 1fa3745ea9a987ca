"""Claims that wait to be settled: one transaction is under way at a time, and what comes meanwhile shares the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from enginehouse.router.ledger._billing import Claim, Verdict
from enginehouse.router.ledger._terms import LedgerUnavailable

_log = logging.getLogger(__name__)

_Group: TypeAlias = "tuple[Sequence[Claim], asyncio.Future[list[Verdict]]]"


class SettleQueue:
    """Groups of claims in the order in which they came.

    A transaction costs PostgreSQL and this process as much as the settlement of ten claims. So after one has begun, the
    next begins `gather_s` later at the earliest: claims that come seldom are settled at once, and those that come often
    share. Nothing gathers while somebody waits for the money.

    Args:
        settle: settles claims in one transaction. Raises LedgerUnavailable.
        most: how many claims a transaction takes, unless one group alone has more.
        gather_s: seconds between the beginnings of two transactions.
        monotonic: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        settle: Callable[[Sequence[Claim]], Awaitable[list[Verdict]]],
        most: int,
        gather_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle = settle
        self._most = most
        self._gather_s = gather_s
        self._monotonic = monotonic
        self._groups: deque[_Group] = deque()
        self._queued = 0
        self._came = asyncio.Event()
        self._enough = asyncio.Event()

    def put(self, claims: Sequence[Claim]) -> asyncio.Future[list[Verdict]]:
        """Queue claims; the future has their verdicts, in order, once they are committed.

        It fails with LedgerUnavailable where PostgreSQL does not answer, and with what PostgreSQL raises where it can't
        take one of the claims.
        """
        settled: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._groups.append((claims, settled))
        self._queued += len(claims)
        self._came.set()
        if self._queued >= self._most:
            self._enough.set()
        return settled

    def hurry(self) -> None:
        """Settle what is queued without waiting for more."""
        if self._groups:
            self._enough.set()

    async def run(self) -> None:
        """Settle what comes, for ever."""
        began = float("-inf")
        while True:
            await self._came.wait()
            await self._gather(began + self._gather_s - self._monotonic())
            began = self._monotonic()
            await self._settle_batch(self._next_batch())

    async def drain(self) -> None:
        """Settle all that is queued."""
        while self._groups:
            await self._settle_batch(self._next_batch())

    async def _gather(self, seconds: float) -> None:
        if seconds > 0 and not self._enough.is_set():
            alarm = asyncio.get_running_loop().call_later(seconds, self._enough.set)
            try:
                await self._enough.wait()
            finally:
                alarm.cancel()
        self._enough.clear()

    def _next_batch(self) -> list[_Group]:
        batch = [self._groups.popleft()]
        count = len(batch[0][0])
        while self._groups and count + len(self._groups[0][0]) <= self._most:
            batch.append(self._groups.popleft())
            count += len(batch[-1][0])
        self._queued -= count
        if not self._groups:
            self._came.clear()
        elif self._queued >= self._most:
            self._enough.set()
        return batch

    async def _settle_batch(self, batch: Sequence[_Group]) -> None:
        try:
            verdicts = await self._settle([claim for claims, _ in batch for claim in claims])
        except LedgerUnavailable as error:
            for _, waiting in batch:
                _fail(waiting, error)
            return
        except Exception as error:
            await self._settle_apart(batch, error)
            return
        place = 0
        for claims, waiting in batch:
            if not waiting.done():
                waiting.set_result(verdicts[place : place + len(claims)])
            place += len(claims)

    async def _settle_apart(self, batch: Sequence[_Group], error: Exception) -> None:
        """Settle each group alone: one claim that PostgreSQL can't take must not keep the others from settling."""
        if len(batch) > 1:
            for group in batch:
                await self._settle_batch([group])
            return
        ((claims, waiting),) = batch
        if len(claims) == 1:
            _log.error("a report could not be settled", extra={"grant_id": claims[0].grant.grant_id}, exc_info=error)
            _fail(waiting, error)
            return
        alone: list[_Group] = [((claim,), asyncio.get_running_loop().create_future()) for claim in claims]
        for single in alone:
            await self._settle_batch([single])
        found = await asyncio.gather(*[settled for _, settled in alone], return_exceptions=True)
        failed = next((outcome for outcome in found if isinstance(outcome, BaseException)), None)
        if failed is not None:
            _fail(waiting, failed)
        elif not waiting.done():
            waiting.set_result([verdict for outcome in found if isinstance(outcome, list) for verdict in outcome])


def _fail(waiting: asyncio.Future[list[Verdict]], error: BaseException) -> None:
    if not waiting.done():
        waiting.set_exception(error)

"""Who waits for the money of an account, in order. No I/O and no await here but a waiter's own.

What those ahead ask for is set aside: a waiter, or a request that comes later, takes only what they leave. So a large
request is not overtaken by small ones for ever, and nobody waits for an account that has enough for everybody.
"""

from __future__ import annotations

import asyncio
import bisect


class Waiter:
    """A request that waits for money.

    Args:
        asks_nanos: what it needs of every account that pays for it.
        order: its place; lower ones go first.
        urgent: whether it is being served already, and so goes before those that are not.
    """

    __slots__ = ("_given_up", "_woken", "asks_nanos", "error", "first_lack", "order", "urgent")

    def __init__(self, *, asks_nanos: int, order: int, urgent: bool) -> None:
        self.asks_nanos = asks_nanos
        self.urgent = urgent
        self.order = (not urgent, order)
        self.first_lack = ""
        """Of the budgets that had too little when it last tried, the first by id."""
        self.error: Exception | None = None
        """Why it need not wait any longer."""
        self._given_up = False
        self._woken: asyncio.Future[None] | None = None

    async def woken(self) -> bool:
        """Wait until it is worth trying again; False once it is to give up. Raises what it was refused with."""
        if self.error is None and not self._given_up:
            self._woken = asyncio.get_running_loop().create_future()
            try:
                await self._woken
            finally:
                self._woken = None
        if self.error is not None:
            raise self.error
        return not self._given_up

    def wake(self) -> None:
        """Have it try again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def refuse(self, error: Exception) -> None:
        """End its wait with an error."""
        self.error = error
        self.wake()

    def give_up(self) -> None:
        """End its wait: it has been long enough."""
        self._given_up = True
        self.wake()


class AccountQueue:
    """Those who wait for one account's money; an account that nobody waits for has none."""

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []
        self.asked = 0
        """What all of them ask for."""
        self.asked_urgently = 0
        """What those ask for that are being served already."""
        self.stirred = False
        """Something became free, or somebody left, since this was last set to False."""
        self.looked = False
        """The window has been found to have nothing for them at least once."""

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def waiters(self) -> list[Waiter]:
        """The waiters in order."""
        return list(self._waiters)

    def keeps(self, budget_id: str) -> bool:
        """Return whether the first to wait for this budget lacks none that is before it by id.

        Otherwise the money is of no use here yet. Replicas that each kept what the other lacks would wait for ever, so
        all of them gather the budgets of a request in one order, and give back what is not next.
        """
        return self._waiters[0].first_lack >= budget_id

    def add(self, waiter: Waiter) -> None:
        """Take a waiter in at its place."""
        bisect.insort(self._waiters, waiter, key=lambda other: other.order)
        self.asked += waiter.asks_nanos
        self.asked_urgently += waiter.asks_nanos if waiter.urgent else 0

    def remove(self, waiter: Waiter) -> None:
        """Let a waiter go."""
        self._waiters.remove(waiter)
        self.asked -= waiter.asks_nanos
        self.asked_urgently -= waiter.asks_nanos if waiter.urgent else 0
        self.stirred = True

    def set_aside(self, waiter: Waiter) -> int:
        """Return what those ahead of a waiter ask for, whether it has joined or not."""
        if self._waiters[-1].order < waiter.order:
            return self.asked
        total = 0
        for other in self._waiters:
            if other.order >= waiter.order:
                break
            total += other.asks_nanos
        return total

    def serve(self, free_nanos: int) -> None:
        """Wake those for whom this much is enough, after those ahead of them."""
        self.stirred = True
        for waiter in self._waiters:
            free_nanos -= waiter.asks_nanos
            if free_nanos < 0:
                return
            waiter.wake()

    def lacking(self, free_nanos: int) -> int:
        """Return what is missing for the first for whom this is not enough; 0 if it is enough for all."""
        for waiter in self._waiters:
            free_nanos -= waiter.asks_nanos
            if free_nanos < 0:
                return -free_nanos
        return 0

    def wake_all(self) -> None:
        """Have all of them try again: what they wait for may not be what pays for them any more."""
        for waiter in self._waiters:
            waiter.wake()

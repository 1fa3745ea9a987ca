"""Coalescing of equal requests: an engine serves the first, and the others wait for its answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(slots=True, eq=False)
class PendingAnswer:
    """An answer that is being made.

    Attributes:
        key: the key that it will be kept under.
        grant_id: the grant of the request that is being served.
        engine_id: the first engine that the request is offered to.
        ends_at_s: the time until which others may wait for it, on the monotonic clock.
        answer: the answer's bytes, or None if there will be none.
    """

    key: bytes
    grant_id: str
    engine_id: str
    ends_at_s: float
    answer: asyncio.Future[bytes | None]


class RequestCoalescer:
    """The answers being made, by key.

    Args:
        wait_s: seconds that others may wait for an answer.
        max_waiting: the most requests that wait, for all answers together.
        alive: returns whether an engine is live; nobody waits for a dead one.
        now_s: the monotonic clock.
    """

    def __init__(
        self, *, wait_s: float, max_waiting: int, alive: Callable[[str], bool], now_s: Callable[[], float]
    ) -> None:
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self._alive = alive
        self._now_s = now_s
        self._by_key: dict[bytes, PendingAnswer] = {}
        self.waiting = 0
        """The number of requests that wait."""

    def __len__(self) -> int:
        return len(self._by_key)

    def join(self, key: bytes) -> PendingAnswer | None:
        """Return the answer to wait for, if there is one and waiting for it is allowed."""
        pending = self._by_key.get(key)
        if pending is None:
            return None
        if pending.ends_at_s <= self._now_s() or not self._alive(pending.engine_id):
            self._end(pending, None)
            return None
        return pending if self.waiting < self._max_waiting else None

    def begin(self, key: bytes, *, grant_id: str, engine_id: str) -> None:
        """Register a request that is about to be served. An empty `grant_id` means that another router serves it.

        If an equal request is being served already, others go on waiting for that one.
        """
        self.join(key)
        if self._wait_s <= 0 or key in self._by_key:
            return
        if len(self._by_key) >= self._max_waiting:
            self.prune()
        ends_at_s = self._now_s() + self._wait_s
        answer = asyncio.get_running_loop().create_future()
        self._by_key[key] = PendingAnswer(key, grant_id, engine_id, ends_at_s, answer)

    def complete(self, key: bytes, data: bytes) -> None:
        """Give an answer to all who wait for it, whoever made it."""
        pending = self._by_key.get(key)
        if pending is not None:
            self._end(pending, data)

    def abandon(self, key: bytes, grant_id: str) -> None:
        """End the wait for an answer that this grant will not bring."""
        pending = self._by_key.get(key)
        if pending is not None and pending.grant_id == grant_id:
            self._end(pending, None)

    async def wait(self, pending: PendingAnswer) -> bytes | None:
        """Wait for an answer. Returns None if it was abandoned, takes too long, or its engine died."""
        self.waiting += 1
        try:
            while not pending.answer.done():
                left_s = pending.ends_at_s - self._now_s()
                if left_s <= 0 or not self._alive(pending.engine_id):
                    self._end(pending, None)
                    return None
                # The registry learns of an engine's death within a second, but does not notify this object: poll.
                await asyncio.wait([pending.answer], timeout=min(left_s, 0.25))
            return pending.answer.result()
        finally:
            self.waiting -= 1

    def prune(self) -> None:
        """Drop the answers that nobody will wait for any more."""
        now = self._now_s()
        for pending in [pending for pending in self._by_key.values() if pending.ends_at_s <= now]:
            self._end(pending, None)

    def _end(self, pending: PendingAnswer, data: bytes | None) -> None:
        if self._by_key.get(pending.key) is pending:
            del self._by_key[pending.key]
        if not pending.answer.done():
            pending.answer.set_result(data)

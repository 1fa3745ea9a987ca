"""Equal requests at once: the first is served by an engine, the others wait for its answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(slots=True, eq=False)
class Flight:
    """An answer being made.

    Attributes:
        key: what it will be kept under.
        grant_id: the grant of the request that is being served.
        engine_id: the engine that was to serve it first.
        ends_at_s: when nobody waits for it any more, on the monotonic clock.
        landed: the answer's bytes, or None where there will be none.
    """

    key: bytes
    grant_id: str
    engine_id: str
    ends_at_s: float
    landed: asyncio.Future[bytes | None]


class RequestCoalescer:
    """The answers being made, by key.

    Args:
        wait_s: how long others may wait for one.
        max_waiting: how many may wait for any of them.
        alive: whether an engine is live; nobody waits for one that is gone.
        now_s: the monotonic clock.
    """

    def __init__(
        self, *, wait_s: float, max_waiting: int, alive: Callable[[str], bool], now_s: Callable[[], float]
    ) -> None:
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self._alive = alive
        self._now_s = now_s
        self._by_key: dict[bytes, Flight] = {}
        self.waiting = 0
        """How many requests wait."""

    def __len__(self) -> int:
        return len(self._by_key)

    def join(self, key: bytes) -> Flight | None:
        """The flight to wait for, if there is one worth it."""
        flight = self._by_key.get(key)
        if flight is None:
            return None
        if flight.ends_at_s <= self._now_s() or not self._alive(flight.engine_id):
            self._end(flight, None)
            return None
        return flight if self.waiting < self._max_waiting else None

    def begin(self, key: bytes, *, grant_id: str, engine_id: str) -> None:
        """Says that a request is about to be served; with an empty grant's id, by another router.

        One that is under way already stays the one to wait for.
        """
        self.join(key)
        if self._wait_s <= 0 or key in self._by_key:
            return
        if len(self._by_key) >= self._max_waiting:
            self.prune()
        ends_at_s = self._now_s() + self._wait_s
        landed = asyncio.get_running_loop().create_future()
        self._by_key[key] = Flight(key, grant_id, engine_id, ends_at_s, landed)

    def complete(self, key: bytes, data: bytes) -> None:
        """The answer is there, whoever made it."""
        flight = self._by_key.get(key)
        if flight is not None:
            self._end(flight, data)

    def abandon(self, key: bytes, grant_id: str) -> None:
        """There will be no answer from that grant."""
        flight = self._by_key.get(key)
        if flight is not None and flight.grant_id == grant_id:
            self._end(flight, None)

    async def wait(self, flight: Flight) -> bytes | None:
        """The flight's answer, or None if it ended without one, takes too long, or its engine died."""
        self.waiting += 1
        try:
            while not flight.landed.done():
                left_s = flight.ends_at_s - self._now_s()
                if left_s <= 0 or not self._alive(flight.engine_id):
                    self._end(flight, None)
                    return None
                # An engine's death is known to the registry within a second, and to nobody here by itself.
                await asyncio.wait([flight.landed], timeout=min(left_s, 0.25))
            return flight.landed.result()
        finally:
            self.waiting -= 1

    def prune(self) -> None:
        """Forgets flights that nobody will wait for any more."""
        now = self._now_s()
        for flight in [flight for flight in self._by_key.values() if flight.ends_at_s <= now]:
            self._end(flight, None)

    def _end(self, flight: Flight, data: bytes | None) -> None:
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
        if not flight.landed.done():
            flight.landed.set_result(data)

"""Looking for secrets that a replica does not know, before it refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.tasks import TaskSet
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.identity._store import KeyStore

# Whoever sends invented secrets costs the database one query for all that come within this time, at most.
_GATHER_S = 0.02
_MAX_WAITING = 1000
# A secret that was not found is not looked for again for so long. Secrets are random: none that was invented becomes
# a key's later.
_UNKNOWN_MS = 10_000
_MAX_UNKNOWN = 10_000
# A query that takes longer counts as no answer, in seconds.
_ANSWER_S = 5.0


class KeyLookup:
    """Looks for secrets in the database, many with one query, and one query at a time.

    Args:
        store: the keys.
        take: reads the key with that id and puts it in the index.
        clock: milliseconds since 1970 UTC.
        pause: returns after that many seconds.
    """

    def __init__(
        self,
        *,
        store: KeyStore,
        take: Callable[[str], Awaitable[None]],
        clock: Clock,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._take = take
        self._clock = clock
        self._pause = pause
        self._wanted: dict[bytes, tuple[Sequence[bytes], asyncio.Future[bool]]] = {}
        self._unknown: dict[bytes, int] = {}
        self._searching = False
        self._tasks = TaskSet()

    async def find(self, digests: Sequence[bytes]) -> bool:
        """Return whether a key has this secret, given as its digests under all peppers; if so, the index has the key.

        Raises:
            ServiceError: LEDGER_UNAVAILABLE if the database does not answer, or too many are looked for.
        """
        digest = digests[0]
        if self._clock() < self._unknown.get(digest, 0):
            return False
        if digest not in self._wanted:
            if len(self._wanted) >= _MAX_WAITING:
                raise _unavailable("too many unknown keys are being looked for")
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            # Those who wait may all have left when it fails.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._wanted[digest] = digests, future
            if not self._searching:
                self._searching = True
                self._tasks.spawn(self._search(), name="key-lookup")
        return await asyncio.shield(self._wanted[digest][1])

    async def close(self) -> None:
        """Stop looking."""
        await self._tasks.close()
        for _, future in self._wanted.values():
            future.cancel()

    async def _search(self) -> None:
        while self._wanted:
            batch = dict(self._wanted)
            try:
                with translate_db_errors():
                    async with asyncio.timeout(_ANSWER_S):
                        found = await self._found(batch)
            except (DatabaseUnavailable, TimeoutError):
                for _, future in batch.values():
                    future.set_exception(_unavailable("the key is not known here, and the database does not answer"))
            except Exception as error:
                for _, future in batch.values():
                    future.set_exception(error)
            else:
                for digest, (_, future) in batch.items():
                    if digest not in found:
                        self._note_unknown(digest)
                    future.set_result(digest in found)
            for digest in batch:
                del self._wanted[digest]
            await self._pause(_GATHER_S)
        self._searching = False

    async def _found(self, batch: dict[bytes, tuple[Sequence[bytes], asyncio.Future[bool]]]) -> set[bytes]:
        """Return those of the secrets that keys have, once the index has their keys."""
        first = {digest: digests[0] for digests, _ in batch.values() for digest in digests}
        found = set()
        for key in await self._store.find_keys(list(first)):
            now = self._clock()
            usable = key.revoked_at_ms == 0 and (not key.expires_at_ms or now < key.expires_at_ms)
            good = [key.digest] if usable else []
            if usable and key.previous_digest is not None and now < key.previous_until_ms:
                good.append(key.previous_digest)
            asked = {first[digest] for digest in good if digest in first}
            if asked:
                await self._take(key.key_id)
                found |= asked
        return found

    def _note_unknown(self, digest: bytes) -> None:
        if len(self._unknown) >= _MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[digest] = self._clock() + _UNKNOWN_MS


def _unavailable(fault: str) -> ServiceError:
    return ServiceError(Reason.LEDGER_UNAVAILABLE, f"{fault}; retry shortly", retry_after_s=1.0)

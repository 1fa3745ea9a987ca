"""Every usable key in memory, so that a decision asks nobody."""

from __future__ import annotations

import dataclasses
import hmac
import logging
from collections.abc import Awaitable, Callable

from enginehouse.kit.tasks import TaskSet
from enginehouse.router.clock import Clock
from enginehouse.router.identity._keys import KEY_PREFIX, KeyHasher
from enginehouse.router.identity._store import Key, KeyStore, Tenant

_log = logging.getLogger(__name__)

_NEVER_MS = 2**63
# Keys found under an old pepper that wait to be hashed anew.
_MAX_STALE = 10_000
# How often a changed key is read again because something else changed meanwhile.
_MAX_READS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """A key and the tenant that it belongs to. For who comes with a token, a key without a hash stands for the user."""

    key: Key
    tenant: Tenant


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """One hash of a secret, until when it works, and whose it is."""

    digest: bytes
    until_ms: int
    caller: Caller | None


# Stands for "no such key", so that a stranger's key costs what a known one does.
_NOBODY = _Entry(bytes(32), 0, None)


class KeyIndex:
    """Finds the caller of a secret in about a microsecond.

    `reload` replaces everything and runs at start, on every reconnection, and from time to time; `changed` fetches one
    key again and runs on a notification, which is what makes a revocation effective within a second everywhere.

    `before_use` is awaited with a key's id (or an empty one, for all) after keys were read and before they work: what
    bounds a key, such as its budget, must be known by then, or it would be without bounds for a moment.
    """

    def __init__(
        self,
        *,
        store: KeyStore,
        hasher: KeyHasher,
        clock: Clock,
        before_use: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._before_use = before_use
        self._hasher = hasher
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._by_id: dict[str, Caller] = {}
        self._stale: dict[str, tuple[bytes, bytes]] = {}
        self._fetches = TaskSet()
        self.loaded = False
        """Whether the keys have been read; until then nobody can be told from a stranger."""
        self._changes = 0

    def authenticate(self, secret: str, *, now_ms: int) -> Caller | None:
        """The caller whose key this is; None if unknown, revoked or expired.

        What a stranger's key costs, a revoked and an expired one cost too: as many hashes, lookups and comparisons on
        the same lines. The lookup is by a keyed digest, which a stranger can't steer, so its timing tells nothing about
        other keys. (A key that is over takes 0.2 us more until the next reload forgets it: memory is read that a
        stranger's key does not reach.)
        """
        if not secret.startswith(KEY_PREFIX):
            return None
        digests = self._hasher.digests(secret)
        found = _NOBODY
        for digest in digests:
            entry = self._entries.get(digest, _NOBODY)
            same = hmac.compare_digest(entry.digest, digest)
            fresh = now_ms < entry.until_ms
            found = entry if same & fresh else found
        if found.digest != digests[0] and found.caller is not None:
            self._note_stale(found, digests)
        return found.caller

    def get(self, key_id: str) -> Caller | None:
        """The caller with that key id, if it is usable."""
        return self._by_id.get(key_id)

    def __len__(self) -> int:
        return len(self._by_id)

    async def reload(self) -> None:
        """Read every usable key again."""
        # A key that changes while the table is being read may be read as it was: read again until none did.
        while True:
            before = self._changes
            keys, tenants = await self._store.all_usable(now_ms=self._clock())
            if self._before_use is not None:
                await self._before_use("")
            if before == self._changes:
                break
        by_tenant = {tenant.tenant_id: tenant for tenant in tenants}
        callers = [Caller(key, by_tenant[key.tenant_id]) for key in keys]
        now = self._clock()
        self._entries = {entry.digest: entry for caller in callers for entry in _entries(caller, now)}
        self._by_id = {caller.key.key_id: caller for caller in callers}
        self.loaded = True

    async def hash_anew(self) -> None:
        """Write the current pepper's hash of every key that was seen under an old one."""
        stale, self._stale = self._stale, {}
        if stale:
            await self._store.rehash_keys((key_id, old, new) for key_id, (old, new) in stale.items())

    def changed(self, key_id: str) -> None:
        """Note that a key was made or revoked, and read it."""
        self._changes += 1
        self._fetches.spawn(self._fetch(key_id), name="key-refresh")

    def put(self, key: Key, tenant: Tenant) -> None:
        """Take a key as it is now."""
        self._changes += 1
        self._forget(key.key_id)
        if key.revoked_at_ms == 0:
            caller = Caller(key, tenant)
            self._entries.update((entry.digest, entry) for entry in _entries(caller, self._clock()))
            self._by_id[key.key_id] = caller

    def drop(self, key_id: str) -> None:
        """Let a key work no more."""
        self._changes += 1
        self._forget(key_id)

    async def close(self) -> None:
        """Cancel the fetches that are under way."""
        await self._fetches.close()

    def _note_stale(self, found: _Entry, digests: list[bytes]) -> None:
        # A secret that was rotated away keeps its hash for the days that it has left.
        key = found.caller.key if found.caller is not None else None
        if key is not None and key.digest == found.digest and len(self._stale) < _MAX_STALE:
            self._stale[key.key_id] = (found.digest, digests[0])

    def _forget(self, key_id: str) -> None:
        caller = self._by_id.pop(key_id, None)
        if caller is not None:
            for entry in _entries(caller, 0):
                self._entries.pop(entry.digest, None)

    async def _fetch(self, key_id: str) -> None:
        try:
            for _ in range(_MAX_READS):
                before = self._changes
                key, tenant = await self._read(key_id)
                # What changed while this was read is newer than it.
                if before == self._changes:
                    break
            if key is not None and tenant is not None:
                self.put(key, tenant)
        except Exception:
            # It may have been revoked, so it stops working; the next reload brings it back if it was not.
            self._forget(key_id)
            _log.warning("could not read a changed key", extra={"key_id": key_id})

    async def _read(self, key_id: str) -> tuple[Key | None, Tenant | None]:
        found = await self._store.get_keys([key_id])
        if not found:
            return None, None
        tenant = await self._store.get_tenant(found[0].tenant_id)
        if self._before_use is not None and found[0].revoked_at_ms == 0:
            await self._before_use(key_id)
        return found[0], tenant


def _entries(caller: Caller, now_ms: int) -> list[_Entry]:
    """Return the hashes of a key that work after that moment. Expired ones are not kept: finding one takes time."""
    key = caller.key
    until = key.expires_at_ms or _NEVER_MS
    found = [_Entry(key.digest, until, caller)]
    if key.previous_digest is not None:
        found.append(_Entry(key.previous_digest, min(until, key.previous_until_ms), caller))
    return [entry for entry in found if entry.until_ms > now_ms]

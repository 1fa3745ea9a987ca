"""All usable keys in memory, so that a decision needs no I/O."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Awaitable, Callable

from enginehouse.router.clock import Clock
from enginehouse.router.database import ChangeReader, Changes
from enginehouse.router.identity._keys import KEY_PREFIX, KeyHasher
from enginehouse.router.identity._lookup import KeyLookup
from enginehouse.router.identity._store import Key, KeyStore, Tenant

_NEVER_MS = 2**63
# The most keys that were found under an old pepper and wait to be rehashed.
_MAX_STALE = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """A key and its tenant. A user who comes with a token is represented by a key without a hash."""

    key: Key
    tenant: Tenant


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """A secret's hash, the time until which it is valid, and its caller."""

    digest: bytes
    until_ms: int
    caller: Caller | None


# The entry of an unknown key, so that an unknown key takes as long as a known one.
_UNKNOWN = _Entry(bytes(32), 0, None)


class KeyIndex:
    """Finds the caller of a secret in about a microsecond.

    `reload` replaces everything; it runs at start, on every reconnection, and periodically. `changed` fetches one key
    again; it runs on a notification, so that a revocation takes effect everywhere within a second. `find` looks for a
    secret that is not known here, since another replica may have made it a moment ago.

    `before_use` is awaited with a key's id (empty for all keys) after keys are read and before they work. It loads what
    bounds a key, such as its budget; otherwise the key would have no bounds for a moment.
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
        self.loaded = False
        """True once the keys have been read. Until then no key can be told from an unknown one."""
        self._changes = Changes()
        # A key that may have been revoked stops working until it can be read.
        self._reader = ChangeReader(read=self._take, what="key", failed=self._remove)
        self._lookup = KeyLookup(store=store, take=self._take, clock=clock)

    def authenticate(self, secret: str, *, now_ms: int) -> Caller | None:
        """Return the caller whose key this is; None if it is unknown, revoked or expired.

        Unknown, revoked and expired keys take the same time: as many hashes, lookups and comparisons on the same lines.
        The lookup is by a keyed digest, which a stranger cannot choose, so its timing tells nothing about other keys.
        (A key that has expired takes 0.2 us more until the next reload drops it, because its entry is read.)
        """
        if not secret.startswith(KEY_PREFIX):
            return None
        digests = self._hasher.digests(secret)
        found = _UNKNOWN
        for digest in digests:
            entry = self._entries.get(digest, _UNKNOWN)
            same = hmac.compare_digest(entry.digest, digest)
            fresh = now_ms < entry.until_ms
            found = entry if same & fresh else found
        if found.digest != digests[0] and found.caller is not None:
            self._note_stale(found, digests)
        return found.caller

    async def find(self, secret: str) -> bool:
        """Look in the database for a secret that is not known here; return whether its key was found.

        Raises:
            ServiceError: LEDGER_UNAVAILABLE if the database does not answer, or too many are looked for.
        """
        return secret.startswith(KEY_PREFIX) and await self._lookup.find(self._hasher.digests(secret))

    def get(self, key_id: str) -> Caller | None:
        """Return the caller with that key id, if it is usable."""
        return self._by_id.get(key_id)

    def __len__(self) -> int:
        return len(self._by_id)

    async def reload(self) -> None:
        """Read every usable key again."""
        (keys, tenants), changed = await self._changes.whole(self._read_all)
        by_tenant = {tenant.tenant_id: tenant for tenant in tenants}
        callers = [Caller(key, by_tenant[key.tenant_id]) for key in keys if key.key_id not in changed]
        callers += [self._by_id[key_id] for key_id in changed if key_id in self._by_id]
        now = self._clock()
        self._entries = {entry.digest: entry for caller in callers for entry in _entries(caller, now)}
        self._by_id = {caller.key.key_id: caller for caller in callers}
        self.loaded = True

    async def rehash(self) -> None:
        """Write the current pepper's hash of every key that was found under an old one."""
        stale, self._stale = self._stale, {}
        if stale:
            await self._store.rehash_keys((key_id, old, new) for key_id, (old, new) in stale.items())

    def changed(self, key_id: str) -> None:
        """Read a key in the background, because it was created or changed."""
        self._changes.note(key_id)
        self._reader.changed(key_id)

    def put(self, key: Key, tenant: Tenant) -> None:
        """Add or replace a key; a revoked key is removed."""
        self._changes.note(key.key_id)
        self._remove(key.key_id)
        if key.revoked_at_ms == 0:
            caller = Caller(key, tenant)
            self._entries.update((entry.digest, entry) for entry in _entries(caller, self._clock()))
            self._by_id[key.key_id] = caller

    def drop(self, key_id: str) -> None:
        """Remove a key, so that it no longer works."""
        self._changes.note(key_id)
        self._remove(key_id)

    async def close(self) -> None:
        """Cancel the reads that are in progress."""
        await self._reader.close()
        await self._lookup.close()

    def _note_stale(self, found: _Entry, digests: list[bytes]) -> None:
        # The secret before the last rotation keeps its hash until it expires.
        key = found.caller.key if found.caller is not None else None
        if key is not None and key.digest == found.digest and len(self._stale) < _MAX_STALE:
            self._stale[key.key_id] = (found.digest, digests[0])

    def _remove(self, key_id: str) -> None:
        caller = self._by_id.pop(key_id, None)
        if caller is not None:
            for entry in _entries(caller, 0):
                self._entries.pop(entry.digest, None)

    async def _take(self, key_id: str) -> None:
        """Read a key and put it in its place."""
        key, tenant = await self._changes.latest(key_id, lambda: self._read(key_id))
        if key is not None and tenant is not None:
            self.put(key, tenant)

    async def _read(self, key_id: str) -> tuple[Key | None, Tenant | None]:
        found = await self._store.get_keys([key_id])
        if not found:
            return None, None
        key = found[0]
        tenant = await self._store.get_tenant(key.tenant_id)
        if key.revoked_at_ms == 0:
            # What the key was made with bounds it too, and a key does not work without.
            if key.parent_id.startswith("key_") and key.parent_id not in self._by_id:
                await self._take(key.parent_id)
            if self._before_use is not None:
                await self._before_use(key_id)
        return key, tenant

    async def _read_all(self) -> tuple[list[Key], list[Tenant]]:
        found = await self._store.all_usable(now_ms=self._clock())
        if self._before_use is not None:
            await self._before_use("")
        return found


def _entries(caller: Caller, now_ms: int) -> list[_Entry]:
    """Return the entries of a key's secrets that are valid after a moment. Finding an expired one would take time."""
    key = caller.key
    until = key.expires_at_ms or _NEVER_MS
    found = [_Entry(key.digest, until, caller)]
    if key.previous_digest is not None:
        found.append(_Entry(key.previous_digest, min(until, key.previous_until_ms), caller))
    return [entry for entry in found if entry.until_ms > now_ms]

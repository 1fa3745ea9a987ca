"""Who is asking: API keys, their tenants, and an index of them in memory."""

from enginehouse.router.identity._index import Caller, KeyIndex
from enginehouse.router.identity._keys import KEY_PREFIX, KeyHasher, new_secret, secret_hint
from enginehouse.router.identity._store import KEYS_CHANNEL, Key, KeyStore, Tenant

__all__ = [
    "KEYS_CHANNEL",
    "KEY_PREFIX",
    "Caller",
    "Key",
    "KeyHasher",
    "KeyIndex",
    "KeyStore",
    "Tenant",
    "new_secret",
    "secret_hint",
]

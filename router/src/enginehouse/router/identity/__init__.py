"""Identity of callers: keys, tenants, users with roles, and tokens of identity providers, all in memory."""

from enginehouse.router.identity._authenticator import Authenticator
from enginehouse.router.identity._index import Caller, KeyIndex
from enginehouse.router.identity._keys import KEY_PREFIX, KeyHasher, new_secret, secret_hint
from enginehouse.router.identity._roles import ROLE_SCOPES, SCOPES, Role
from enginehouse.router.identity._settings import IssuerSettings
from enginehouse.router.identity._store import KEYS_CHANNEL, USERS_CHANNEL, Key, KeyStore, Tenant
from enginehouse.router.identity._tokens import TokenVerifier
from enginehouse.router.identity._user_index import UserIndex
from enginehouse.router.identity._users import User, UserStore, user_id_of

__all__ = [
    "KEYS_CHANNEL",
    "KEY_PREFIX",
    "ROLE_SCOPES",
    "SCOPES",
    "USERS_CHANNEL",
    "Authenticator",
    "Caller",
    "IssuerSettings",
    "Key",
    "KeyHasher",
    "KeyIndex",
    "KeyStore",
    "Role",
    "Tenant",
    "TokenVerifier",
    "User",
    "UserIndex",
    "UserStore",
    "new_secret",
    "secret_hint",
    "user_id_of",
]

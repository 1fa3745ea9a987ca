"""Authentication of requests, by an API key or by an identity provider's token."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.identity._index import Caller, KeyIndex
from enginehouse.router.identity._keys import KEY_PREFIX
from enginehouse.router.identity._store import Key
from enginehouse.router.identity._tokens import TokenVerifier
from enginehouse.router.identity._user_index import UserIndex

# A user's key may make keys of runs, which needs fewer; the API makes no deeper chains.
_MAX_ANCESTORS = 8
_USER_PREFIX = "user_"


class Authenticator:
    """Authenticates requests from memory, as the first step of every decision; only a key that is not known there is
    looked for in the database.

    Args:
        keys: the usable keys.
        users: tenants and users.
        tokens: verifies tokens of identity providers; false if no provider is configured.
    """

    def __init__(self, *, keys: KeyIndex, users: UserIndex, tokens: TokenVerifier) -> None:
        self._keys = keys
        self._users = users
        self._tokens = tokens

    async def authenticate(self, headers: Mapping[bytes, bytes], *, now_ms: int) -> Caller:
        """Return the caller, by `authorization: Bearer` or `x-api-key`.

        Raises:
            ServiceError: KEY_MISSING, KEY_INVALID (deliberately the same for unknown, revoked and expired keys),
                TOKEN_INVALID, or LEDGER_UNAVAILABLE while the keys have not been read, or an unknown one can't be.
        """
        given = headers.get(b"authorization")
        if given is not None:
            scheme, _, secret = given.partition(b" ")
            if scheme.lower() != b"bearer":
                raise ServiceError(
                    Reason.KEY_MISSING,
                    f"unsupported authorization scheme; send the key as 'authorization: Bearer {KEY_PREFIX}...'",
                )
        else:
            secret = headers.get(b"x-api-key", b"")
        secret = secret.strip()
        if not secret:
            raise ServiceError(
                Reason.KEY_MISSING,
                f"no API key; send 'authorization: Bearer {KEY_PREFIX}...' or 'x-api-key: {KEY_PREFIX}...'",
            )
        if not self._keys.loaded:
            raise ServiceError(
                Reason.LEDGER_UNAVAILABLE,
                "the router has not read its keys from the database yet; retry shortly",
                retry_after_s=1.0,
            )
        if self._tokens and secret.count(b".") == 2 and not secret.startswith(KEY_PREFIX.encode()):
            return self._tokens.authenticate(secret, now_ms=now_ms)
        key = secret.decode("latin-1")
        caller = self._keys.authenticate(key, now_ms=now_ms)
        if caller is None and await self._keys.find(key):
            caller = self._keys.authenticate(key, now_ms=now_ms)
        if caller is None:
            raise invalid_key()
        return caller

    def get(self, caller_id: str) -> Caller | None:
        """Return the caller with that key id or user id, if it is usable."""
        return self._users.get(caller_id) if caller_id.startswith(_USER_PREFIX) else self._keys.get(caller_id)

    def of_principal(self, principal: grant_pb2.Principal) -> Caller | None:
        """Return the caller that a grant was issued for; another replica may have verified a user's token."""
        caller = self.get(principal.key_id)
        if caller is None and principal.key_id.startswith(_USER_PREFIX):
            caller = self._users.of_principal(principal)
        return caller

    def ancestors(self, caller: Caller) -> tuple[Key, ...]:
        """Return the keys that the caller's key was made with, nearest first. Their bounds apply to it too.

        Raises:
            ServiceError: KEY_INVALID if one of them is no longer usable.
        """
        found: list[Key] = []
        parent_id = caller.key.parent_id
        while parent_id and not parent_id.startswith(_USER_PREFIX):
            parent = self._keys.get(parent_id)
            if parent is None or len(found) >= _MAX_ANCESTORS:
                raise invalid_key()
            found.append(parent.key)
            parent_id = parent.key.parent_id
        return tuple(found)


def invalid_key() -> ServiceError:
    """Return the error for every key that is not usable; it is the same whatever the reason."""
    return ServiceError(
        Reason.KEY_INVALID,
        "the API key is unknown, revoked or expired; make another with 'enginehouse keys create'",
    )

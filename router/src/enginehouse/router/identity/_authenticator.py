"""Who sends a request: a key's owner, or the user that an identity provider's token speaks for."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.identity._index import Caller, KeyIndex
from enginehouse.router.identity._keys import KEY_PREFIX
from enginehouse.router.identity._store import Key
from enginehouse.router.identity._tokens import TokenVerifier
from enginehouse.router.identity._user_index import UserIndex

# Deep enough for a user's key that makes keys of runs; what is deeper was not made here.
_MAX_ANCESTORS = 8
_USER_PREFIX = "user_"


class Authenticator:
    """The first step of every decision. It asks nobody.

    Args:
        keys: the usable keys.
        users: tenants and users.
        tokens: checks tokens of identity providers; falsy when none is configured.
    """

    def __init__(self, *, keys: KeyIndex, users: UserIndex, tokens: TokenVerifier) -> None:
        self._keys = keys
        self._users = users
        self._tokens = tokens

    def authenticate(self, headers: Mapping[bytes, bytes], *, now_ms: int) -> Caller:
        """The caller, by `authorization: Bearer` or `x-api-key`.

        Raises:
            ServiceError: KEY_MISSING, KEY_INVALID (deliberately the same for unknown, revoked and expired keys),
                TOKEN_INVALID, or LEDGER_UNAVAILABLE while the keys have not been read.
        """
        given = headers.get(b"authorization")
        if given is not None:
            scheme, _, secret = given.partition(b" ")
            if scheme.lower() != b"bearer":
                raise ServiceError(
                    Reason.KEY_MISSING,
                    f"send the API key as 'authorization: Bearer {KEY_PREFIX}...'; other schemes are not taken",
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
                "the router has not been able to read its keys from the database yet; retry shortly",
                retry_after_s=1.0,
            )
        if self._tokens and secret.count(b".") == 2 and not secret.startswith(KEY_PREFIX.encode()):
            return self._tokens.authenticate(secret, now_ms=now_ms)
        caller = self._keys.authenticate(secret.decode("latin-1"), now_ms=now_ms)
        if caller is None:
            raise invalid_key()
        return caller

    def get(self, caller_id: str) -> Caller | None:
        """The caller of that key id or user id, if it is usable."""
        return self._users.get(caller_id) if caller_id.startswith(_USER_PREFIX) else self._keys.get(caller_id)

    def of_principal(self, principal: grant_pb2.Principal) -> Caller | None:
        """The caller that a grant was issued for; a user may have come with a token to another replica."""
        caller = self.get(principal.key_id)
        if caller is None and principal.key_id.startswith(_USER_PREFIX):
            caller = self._users.of_principal(principal)
        return caller

    def ancestors(self, caller: Caller) -> tuple[Key, ...]:
        """The keys that the caller's was made with, nearest first: whatever bounds them bounds it.

        Raises:
            ServiceError: KEY_INVALID when one of them does not work any more.
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
    """The one answer to every key that does not work."""
    return ServiceError(
        Reason.KEY_INVALID,
        "the API key is unknown, revoked or expired; make another with 'enginehouse keys create'",
    )

"""API keys as secrets: their generation, and their hashes, which are all that is stored."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

KEY_PREFIX = "eh_"
_SECRET_BYTES = 32
_HINT_LENGTH = 9


def new_secret() -> str:
    """Return a new API key: `eh_` and 32 random bytes in URL-safe base64."""
    return KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def secret_hint(secret: str) -> str:
    """Return a key's first characters: enough to recognise it (36 of its 256 bits), but not to use it."""
    return secret[:_HINT_LENGTH]


class KeyHasher:
    """Hashes keys with HMAC-SHA256 under a pepper that is not in the database.

    A fast hash is safe against guessing, because a key has 256 random bits. The pepper keeps a stolen table from
    revealing which keys are in it.

    Args:
        pepper: the secret that keys are hashed with.
        old: earlier peppers, under which keys are still found until each has been used once more.
    """

    def __init__(self, *, pepper: bytes, old: Sequence[bytes] = ()) -> None:
        self._begun = [_begin(secret) for secret in (pepper, *old)]
        # Derived from the pepper, so that reading the database is not enough to forge a seal.
        self.seal_keys = tuple(hmac.digest(secret, b"enginehouse audit log", "sha256") for secret in (pepper, *old))
        """The keys of the audit log's seals: the first seals, all of them verify."""

    @classmethod
    def from_files(cls, path: Path, *, old: Sequence[Path] = ()) -> KeyHasher:
        """Read the peppers: each file's bytes without surrounding white space. Raises OSError or ValueError."""
        return cls(pepper=path.read_bytes().strip(), old=[file.read_bytes().strip() for file in old])

    def digest(self, secret: str) -> bytes:
        """Return the 32-byte hash that is stored of a key."""
        return self._hash(self._begun[0], secret.encode("utf-8", "surrogateescape"))

    def digests(self, secret: str) -> list[bytes]:
        """Return a key's hashes under all peppers, the current one first: the same number for every secret."""
        data = secret.encode("utf-8", "surrogateescape")
        return [self._hash(begun, data) for begun in self._begun]

    @staticmethod
    def _hash(begun: tuple[Hash, Hash], data: bytes) -> bytes:
        inner, outer = begun[0].copy(), begun[1].copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


def _begin(pepper: bytes) -> tuple[Hash, Hash]:
    if len(pepper) < 16:
        raise ValueError(f"the key pepper has {len(pepper)} bytes; it needs at least 16")
    # HMAC-SHA256 by its definition. Starting its two hashes only once takes a third of the time.
    block = (pepper if len(pepper) <= 64 else hashlib.sha256(pepper).digest()).ljust(64, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in block)), hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

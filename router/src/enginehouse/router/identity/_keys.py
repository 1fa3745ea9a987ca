"""API keys as secrets: how they are made, and the only form in which they are kept."""

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
    """A new API key: `eh_` and 32 random bytes in URL-safe base64."""
    return KEY_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def secret_hint(secret: str) -> str:
    """The first characters of a key: enough to recognise it by (36 of its 256 bits), not to use it."""
    return secret[:_HINT_LENGTH]


class KeyHasher:
    """Hashes keys with HMAC-SHA256 under a pepper that is not in the database.

    A plain fast hash suffices against guessing (a key has 256 random bits); the pepper makes a stolen table useless
    for recognising keys seen elsewhere.

    Args:
        pepper: what keys are hashed with.
        old: peppers before it, with which keys may still be found until each has been used once more.
    """

    def __init__(self, *, pepper: bytes, old: Sequence[bytes] = ()) -> None:
        self._begun = [_begin(secret) for secret in (pepper, *old)]
        # HMAC's own construction again: whoever reads the database cannot seal what it writes there.
        self.seal_keys = tuple(hmac.digest(secret, b"enginehouse audit log", "sha256") for secret in (pepper, *old))
        """What the audit log is sealed with: the first seals, every one verifies."""

    @classmethod
    def from_files(cls, path: Path, *, old: Sequence[Path] = ()) -> KeyHasher:
        """Read the peppers: each file's bytes without surrounding white space. Raises OSError or ValueError."""
        return cls(pepper=path.read_bytes().strip(), old=[file.read_bytes().strip() for file in old])

    def digest(self, secret: str) -> bytes:
        """Return the stored form of a key: 32 bytes."""
        return self._hash(self._begun[0], secret.encode("utf-8", "surrogateescape"))

    def digests(self, secret: str) -> list[bytes]:
        """The same under every pepper, the current one first: as many hashes whatever the secret is."""
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
    # HMAC-SHA256 by its definition, its two halves begun once: a third of the time of doing it anew.
    block = (pepper if len(pepper) <= 64 else hashlib.sha256(pepper).digest()).ljust(64, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in block)), hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

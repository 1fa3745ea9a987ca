"""API keys as secrets: how they are made, and the only form in which they are kept."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

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
    """

    def __init__(self, *, pepper: bytes) -> None:
        if len(pepper) < 16:
            raise ValueError(f"the key pepper has {len(pepper)} bytes; it needs at least 16")
        # HMAC-SHA256 by its definition, its two halves begun once: a third of the time of doing it anew.
        block = (pepper if len(pepper) <= 64 else hashlib.sha256(pepper).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    @classmethod
    def from_file(cls, path: Path) -> KeyHasher:
        """Reads the pepper: the file's bytes without surrounding white space. Raises OSError or ValueError."""
        return cls(pepper=path.read_bytes().strip())

    def digest(self, secret: str) -> bytes:
        """What is kept of a key: 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(secret.encode("utf-8", "surrogateescape"))
        outer.update(inner.digest())
        return outer.digest()

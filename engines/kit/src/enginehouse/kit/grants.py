"""Grants: the router's signed permission to serve one request and spend up to a cap.

A grant travels as `v1.<key id>.<base64url(Grant)>.<base64url(HMAC-SHA256)>`, unpadded, where the signature covers the
text before the last dot. Signatures are compared as text, so that no second spelling of a valid token exists.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from google.protobuf.message import DecodeError

from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit._documents import ConfigError
from enginehouse.kit.errors import Reason, ServiceError

GRANT_HEADER = "x-enginehouse-grant"
MAX_TOKEN_CHARACTERS = 16 * 1024
_VERSION = "v1"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SECRET_BYTES = 32
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class GrantKeys:
    """The secrets that grants are signed with. The first one signs; all verify, so that keys can be rotated.

    Args:
        secrets_by_id: secrets of at least 32 bytes by key id (1-32 of [A-Za-z0-9_-]), the signing one first.

    Raises:
        ConfigError: there is no key, or an id or a secret is malformed.
    """

    def __init__(self, secrets_by_id: Mapping[str, bytes]) -> None:
        for key_id, secret in secrets_by_id.items():
            if not _KEY_ID.fullmatch(key_id):
                raise ConfigError(f"invalid grant key id {key_id!r}: must be 1-32 of [A-Za-z0-9_-]")
            if len(secret) < _SECRET_BYTES:
                raise ConfigError(f"grant key {key_id!r}: the secret is too short: {len(secret)} bytes, under 32")
        if not secrets_by_id:
            raise ConfigError("no grant key; the first line of the grant keys file signs")
        self._secrets: Mapping[str, bytes] = MappingProxyType(dict(secrets_by_id))
        self.current_id = next(iter(self._secrets))
        self.prefix = f"{_VERSION}.{self.current_id}.".encode()
        """What every token begins with that the current key signs."""
        # The two halves of HMAC-SHA256, prepared once for each key: a third of the time of `hmac.digest`.
        self._begun = {key_id: _begin(secret) for key_id, secret in self._secrets.items()}

    def __repr__(self) -> str:
        return f"GrantKeys(ids={list(self._secrets)})"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys, the signing one first."""
        return tuple(self._secrets)

    def secret(self, key_id: str) -> bytes | None:
        """Return the secret of that id, or None."""
        return self._secrets.get(key_id)

    def mac(self, key_id: str, data: bytes) -> bytes | None:
        """Return the HMAC-SHA256 of the data under the key of that id, or None if there is no such key."""
        begun = self._begun.get(key_id)
        if begun is None:
            return None
        inner, outer = begun[0].copy(), begun[1].copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()

    @classmethod
    def load(cls, path: Path) -> GrantKeys:
        """Read a file of lines `key-id:base64 secret`; empty lines and lines that begin with # are skipped.

        Raises:
            ConfigError: the file cannot be read or a line is malformed; the message never has a secret.
        """
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise ConfigError(f"{path}: grant keys cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: grant keys must be lines of 'key-id:base64 secret'") from None
        found: dict[str, bytes] = {}
        for number, line in enumerate(lines, start=1):
            entry = line.strip()
            if not entry or entry.startswith("#"):
                continue
            key_id, separator, encoded = entry.partition(":")
            if not separator:
                raise ConfigError(f"{path}: line {number}: must be 'key-id:base64 secret'")
            if key_id in found:
                raise ConfigError(f"{path}: line {number}: key id {key_id!r} is given twice")
            try:
                found[key_id] = base64.b64decode(encoded.strip(), validate=True)
            except binascii.Error:
                raise ConfigError(f"{path}: line {number}: the secret of {key_id!r} is not base64") from None
        try:
            return cls(found)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @staticmethod
    def generate(path: Path, *, key_id: str = "k1") -> GrantKeys:
        """Write a file (mode 0600) with one new key, and return it.

        Raises:
            ConfigError: the file exists or cannot be written.
        """
        secret = secrets.token_bytes(_SECRET_BYTES)
        keys = GrantKeys({key_id: secret})
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError(f"{path}: file exists; grant keys are never overwritten") from None
        except OSError as error:
            raise ConfigError(f"{path}: grant keys cannot be written: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{key_id}:".encode() + base64.b64encode(secret) + b"\n")
        return keys


def sign(grant: Grant, *, keys: GrantKeys) -> str:
    """Return the token of a grant, signed with the current key."""
    signed = keys.prefix + _encode(grant.SerializeToString())
    mac = keys.mac(keys.current_id, signed)
    assert mac is not None
    return (signed + b"." + _encode(mac)).decode("ascii")


def authenticate(token: str, *, keys: GrantKeys) -> Grant:
    """Return the grant of a token whose signature is valid, whatever its method and times. For settling reports.

    Raises:
        ServiceError: GRANT_MISSING for an empty token, GRANT_INVALID for one that no key of ours signed.
    """
    if not token:
        raise ServiceError(Reason.GRANT_MISSING, "missing grant; call through the gateway, where the router issues one")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise ServiceError(
            Reason.GRANT_INVALID, f"invalid grant: {len(token)} characters; at most {MAX_TOKEN_CHARACTERS} are allowed"
        )
    signed, separator, signature = token.rpartition(".")
    parts = signed.split(".")
    if not separator or len(parts) != 3 or parts[0] != _VERSION:
        raise ServiceError(Reason.GRANT_INVALID, "invalid grant: not of the form v1.<key id>.<grant>.<signature>")
    if keys.secret(parts[1]) is None:
        raise ServiceError(
            Reason.GRANT_INVALID,
            f"invalid grant: signed with key {parts[1][:32]!r}, which this process does not know; "
            "give router and engines the same grant keys file",
        )
    try:
        mac = keys.mac(parts[1], signed.encode("ascii"))
        genuine = mac is not None and hmac.compare_digest(_encode(mac), signature.encode("ascii"))
        payload = parts[2].encode("ascii")
    except UnicodeEncodeError:
        genuine = False
    if not genuine:
        raise ServiceError(Reason.GRANT_INVALID, "invalid grant: wrong signature")
    try:
        return _decode(payload)
    except (DecodeError, binascii.Error):
        raise ServiceError(
            Reason.GRANT_INVALID, "invalid grant: signed but unreadable; router and engine differ in version"
        ) from None


def peek(token: str) -> Grant:
    """Return the grant of a token that was verified before, without checking it again.

    Raises:
        ValueError: it is no token.
    """
    parts = token.split(".")
    if len(parts) != 4:
        raise ValueError("not a grant token")
    try:
        return _decode(parts[2].encode("ascii"))
    except (DecodeError, binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not a grant token") from error


def payload_of(token: str) -> bytes:
    """Return the Grant message of a token that was made or verified here, as it was signed.

    Raises:
        ValueError: it is no token.
    """
    parts = token.split(".")
    if len(parts) != 4:
        raise ValueError("not a grant token")
    return _payload(parts[2].encode("ascii"))


def verify(token: str, *, keys: GrantKeys, method: str, now_ms: int) -> Grant:
    """Return the grant of a token, if work may start on it now.

    Args:
        token: the value of the header `x-enginehouse-grant`.
        keys: the keys whose signatures are valid.
        method: the full method being called, as "/package.Service/Method".
        now_ms: milliseconds since 1970 UTC.

    Raises:
        ServiceError: GRANT_MISSING, GRANT_INVALID (signature, method) or GRANT_EXPIRED.
    """
    grant = authenticate(token, keys=keys)
    if grant.method != method:
        raise ServiceError(Reason.GRANT_INVALID, f"invalid grant: for {grant.method!r}, not for {method!r}")
    if now_ms > grant.accept_by_ms or now_ms >= grant.expires_at_ms:
        last = min(grant.accept_by_ms, grant.expires_at_ms)
        raise ServiceError(
            Reason.GRANT_EXPIRED,
            f"the grant expired {(now_ms - last) / 1000:.3f} s ago; if the call was not delayed, compare the clocks of "
            "router and engine",
        )
    if not grant.grant_id:
        raise ServiceError(Reason.GRANT_INVALID, "invalid grant: no id")
    return grant


def _begin(secret: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    block = (secret if len(secret) <= 64 else hashlib.sha256(secret).digest()).ljust(64, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def _encode(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def _payload(encoded: bytes) -> bytes:
    return binascii.a2b_base64(encoded.translate(_FROM_URL) + b"=" * (-len(encoded) % 4))


def _decode(encoded: bytes) -> Grant:
    return Grant.FromString(_payload(encoded))

"""Grants, verified by the page of the protocol and nothing of the kit."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

from enginehouse.api.router.v1.grant_pb2 import Grant
from engines.kit.tests.conformance.minimal.errors import CallError

WINDOW_MS = 30_000


class Grants:
    def __init__(self, path: Path) -> None:
        lines = [line.strip() for line in path.read_text().splitlines()]
        pairs = [line.split(":", 1) for line in lines if line and not line.startswith("#")]
        self.secrets = {key_id: base64.b64decode(secret) for key_id, secret in pairs}

    def verify(self, token: str, *, method: str, now_ms: int) -> Grant:
        if not token:
            raise CallError("GRANT_MISSING", "no grant")
        grant = self.authenticate(token)
        self.check_method(grant, method)
        self.check_times(grant, now_ms)
        self.check_id(grant)
        return grant

    def authenticate(self, token: str) -> Grant:
        parts = self.split(token)
        secret = self.secret(parts[1])
        self.check_signature(secret, ".".join(parts[:3]), parts[3])
        return Grant.FromString(base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)))

    def split(self, token: str) -> list[str]:
        parts = token.split(".")
        if len(parts) != 4 or parts[0] != "v1":
            raise CallError("GRANT_INVALID", "not of the form v1.<key id>.<grant>.<signature>")
        return parts

    def secret(self, key_id: str) -> bytes:
        if key_id not in self.secrets:
            raise CallError("GRANT_INVALID", "unknown key")
        return self.secrets[key_id]

    def check_signature(self, secret: bytes, signed: str, signature: str) -> None:
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        expected = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
        # As text: another spelling of the same bytes is no signature.
        if not hmac.compare_digest(expected, signature):
            raise CallError("GRANT_INVALID", "the signature does not hold")

    def check_method(self, grant: Grant, method: str) -> None:
        if grant.method != method:
            raise CallError("GRANT_INVALID", "a grant for another method")

    def check_times(self, grant: Grant, now_ms: int) -> None:
        self.check_accept_by(grant, now_ms)
        self.check_expiry(grant, now_ms)
        self.check_window(grant, now_ms)

    def check_accept_by(self, grant: Grant, now_ms: int) -> None:
        if now_ms > grant.accept_by_ms:
            raise CallError("GRANT_EXPIRED", "the grant came too late")

    def check_expiry(self, grant: Grant, now_ms: int) -> None:
        if now_ms >= grant.expires_at_ms:
            raise CallError("GRANT_EXPIRED", "the grant is over")

    def check_window(self, grant: Grant, now_ms: int) -> None:
        if grant.issued_at_ms < now_ms - WINDOW_MS:
            raise CallError("GRANT_EXPIRED", "the grant was issued too long ago")

    def check_id(self, grant: Grant) -> None:
        if not grant.grant_id:
            raise CallError("GRANT_INVALID", "a grant without an id")

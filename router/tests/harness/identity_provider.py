"""A real HTTP server that stands where an identity provider would: discovery, keys, and tokens by any of them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_PRIVATE = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class SigningKey:
    """One of a provider's keys."""

    def __init__(self, key_id: str, algorithm: str) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any = _PRIVATE[algorithm]()

    @property
    def public_pem(self) -> bytes:
        """As somebody who means to misuse it as a shared secret would take it."""
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def document(self) -> dict[str, Any]:
        """As the provider shows it."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        document = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**document, "kid": self.key_id, "use": "sig", "alg": self.algorithm}


class Provider:
    """The server. `keys` are shown; `reads` counts how often they were read."""

    def __init__(self) -> None:
        self.keys: list[SigningKey] = []
        self.reads = 0
        self.broken = False
        self.claimed_issuer = ""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/.well-known/openid-configuration":
                    document: Any = {
                        "issuer": provider.claimed_issuer or provider.issuer,
                        "jwks_uri": f"{provider.issuer}/keys",
                    }
                else:
                    provider.reads += 1
                    document = {"keys": [one.document() for one in provider.keys]}
                body = b"<html>" if provider.broken else json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What a good token says, with changes; None takes a claim away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "enginehouse",
            "sub": "ravi@example.org",
            "exp": now + 600,
            "iat": now,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: SigningKey | None = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token by one of the keys."""
        key = key or self.keys[0]
        return jwt.encode(
            self.claims(**changed), key.private, algorithm=key.algorithm, headers={"kid": key.key_id, **(header or {})}
        )


def unsigned(header: dict[str, Any], claims: Any) -> str:
    """A token that anybody can make."""
    parts = [json.dumps(one, separators=(",", ":")).encode() for one in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts) + "."


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    made.keys = [SigningKey("first", "RS256")]
    yield made
    made.stop()

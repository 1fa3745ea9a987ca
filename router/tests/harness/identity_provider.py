"""A real HTTP server in place of an identity provider: discovery, keys, and tokens signed with any of them."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
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
        """The public key in the form in which an attacker would misuse it as a shared secret."""
        pem: bytes = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def document(self) -> dict[str, Any]:
        """The public key as the provider publishes it (a JWK)."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        document = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**document, "kid": self.key_id, "use": "sig", "alg": self.algorithm}


class IdentityProviderServer:
    """The server. It publishes `keys`; `reads` counts how often they were read."""

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
                    document = {"keys": [key.document() for key in provider.keys]}
                body = b"<html>" if provider.broken else json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token, with changes; None removes a claim."""
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
        """A token signed with one of the keys, the first by default."""
        key = key or self.keys[0]
        return jwt.encode(
            self.claims(**changed), key.private, algorithm=key.algorithm, headers={"kid": key.key_id, **(header or {})}
        )


def unsigned(header: dict[str, Any], claims: Any) -> str:
    """A token without a signature, which anybody can make."""
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."

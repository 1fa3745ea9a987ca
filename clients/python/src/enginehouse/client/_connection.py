"""From a URL and a key to what a channel needs."""

from __future__ import annotations

import dataclasses
import urllib.parse
import uuid

import grpc

REQUEST_ID_HEADER = "x-enginehouse-request-id"
ATTEMPT_HEADER = "x-enginehouse-attempt"

# The client has retries of its own, which know about request ids and first messages; gRPC's would multiply them.
# Embeddings of a full batch are tens of megabytes.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a mesh is.

    Attributes:
        target: `host:port`.
        tls: whether the connection is encrypted.
    """

    target: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """The endpoint of `http://host[:port]` (plain) or `https://host[:port]` (TLS).

        Raises:
            ValueError: the URL has another form; the text says which would do.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"url {url!r} cannot be read: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url {url!r} must be http://host:port or https://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the url must hold no user or password; give the key as api_key")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"url {url!r} must end after the port; paths are the client's own business")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        tls = parts.scheme == "https"
        return cls(target=f"{host}:{port if port is not None else (443 if tls else 80)}", tls=tls)

    def channel(self) -> grpc.Channel:
        """A new synchronous channel; it connects at its first call."""
        if self.tls:
            return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.insecure_channel(self.target, options=_OPTIONS)

    def aio_channel(self) -> grpc.aio.Channel:
        """A new asyncio channel; it connects at its first call."""
        if self.tls:
            return grpc.aio.secure_channel(self.target, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.aio.insecure_channel(self.target, options=_OPTIONS)


def check_key(api_key: str) -> str:
    """The key, if it can stand in a header at all; raises ValueError, without repeating it."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("api_key must be a key such as eh_...: printable ASCII without spaces")
    return api_key


def call_metadata(api_key: str, request_id: str, *, attempt: int = 1) -> tuple[tuple[str, str], ...]:
    """The headers of a call; `attempt` counts those that are parts of one answer."""
    metadata = (("authorization", f"Bearer {api_key}"), (REQUEST_ID_HEADER, request_id))
    return metadata if attempt == 1 else (*metadata, (ATTEMPT_HEADER, str(attempt)))


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{uuid.uuid4().hex}"

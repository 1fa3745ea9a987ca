"""The address and the headers of a mesh's calls."""

from __future__ import annotations

import dataclasses
import urllib.parse
import uuid

import grpc

REQUEST_ID_HEADER = "x-enginehouse-request-id"
ATTEMPT_HEADER = "x-enginehouse-attempt"
CACHE_HEADER = "x-enginehouse-cache"
"""In a request, whether to use the cache; in a response, the result of the lookup."""

Metadata = tuple[tuple[str, str], ...]
"""Headers of a call, as gRPC takes them."""

# The client has retries of its own, which know about request ids and first messages; gRPC's would multiply them.
# Embeddings of a full batch are tens of megabytes.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The place where a mesh listens.

    Attributes:
        address: `host:port`.
        tls: whether the connection is encrypted.
    """

    address: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Target:
        """Return the target of `http://host[:port]` (plain) or `https://host[:port]` (TLS).

        Raises:
            ValueError: the URL has another form; the text gives the right one.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"invalid url {url!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"invalid url {url!r}: expected http://host:port or https://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("invalid url: it holds a user or a password; give the key as api_key")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"invalid url {url!r}: it must end after the port; the client adds the paths")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        tls = parts.scheme == "https"
        return cls(address=f"{host}:{port if port is not None else (443 if tls else 80)}", tls=tls)

    def channel(self) -> grpc.Channel:
        """Return a new synchronous channel. It connects at its first call."""
        if self.tls:
            return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.insecure_channel(self.address, options=_OPTIONS)

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a new asyncio channel. It connects at its first call."""
        if self.tls:
            return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.aio.insecure_channel(self.address, options=_OPTIONS)


def validate_api_key(api_key: str) -> str:
    """Return the key if it fits into a header. Raise ValueError otherwise, without repeating the key."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("invalid api_key: expected printable ASCII without spaces, such as eh_...")
    return api_key


def context_metadata(*, user_id: str, run_id: str, max_cost_nanos: int | None) -> Metadata:
    """Return the headers for the end user, the run and the cost limit. Raise ValueError for values that do not fit."""
    headers = []
    for name, value in (("user-id", user_id), ("run-id", run_id)):
        if value:
            if len(value) > 128 or not value.isascii() or not value.isprintable() or " " in value:
                field = name.replace("-", "_")
                raise ValueError(f"invalid {field} {value[:64]!r}: expected 1-128 of printable ASCII, no spaces")
            headers.append((f"x-enginehouse-{name}", value))
    if max_cost_nanos is not None:
        if not 0 <= max_cost_nanos < 2**63:
            raise ValueError(f"invalid max_cost_nanos {max_cost_nanos}: expected 0 to {2**63 - 1}")
        headers.append(("x-enginehouse-max-cost-nanos", str(max_cost_nanos)))
    return tuple(headers)


def call_metadata(api_key: str, request_id: str, *, attempt: int = 1) -> Metadata:
    """Return the headers of every call. `attempt` counts the attempts that are parts of one answer, from 1."""
    metadata = (("authorization", f"Bearer {api_key}"), (REQUEST_ID_HEADER, request_id))
    return metadata if attempt == 1 else (*metadata, (ATTEMPT_HEADER, str(attempt)))


def new_request_id() -> str:
    """Return an id that no other request has."""
    return f"req_{uuid.uuid4().hex}"

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
class Target:
    """Where a mesh is.

    Attributes:
        address: `host:port`.
        tls: whether the connection is encrypted.
    """

    address: str
    tls: bool

    @classmethod
    def parse(cls, url: str) -> Target:
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
        return cls(address=f"{host}:{port if port is not None else (443 if tls else 80)}", tls=tls)

    def channel(self) -> grpc.Channel:
        """A new synchronous channel; it connects at its first call."""
        if self.tls:
            return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.insecure_channel(self.address, options=_OPTIONS)

    def aio_channel(self) -> grpc.aio.Channel:
        """A new asyncio channel; it connects at its first call."""
        if self.tls:
            return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
        return grpc.aio.insecure_channel(self.address, options=_OPTIONS)


def check_key(api_key: str) -> str:
    """The key, if it can stand in a header at all; raises ValueError, without repeating it."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("api_key must be a key such as eh_...: printable ASCII without spaces")
    return api_key


def purpose_metadata(*, user_id: str, run_id: str, max_cost_nanos: int | None) -> tuple[tuple[str, str], ...]:
    """The headers that say for whom, and for how much; raises ValueError for what cannot stand in one."""
    found = []
    for name, value in (("user-id", user_id), ("run-id", run_id)):
        if value:
            if len(value) > 128 or not value.isascii() or not value.isprintable() or " " in value:
                raise ValueError(f"{name.replace('-', '_')} {value[:64]!r} must be 1-128 of printable ASCII, no spaces")
            found.append((f"x-enginehouse-{name}", value))
    if max_cost_nanos is not None:
        if not 0 <= max_cost_nanos < 2**63:
            raise ValueError(f"max_cost_nanos {max_cost_nanos} must be from 0 to {2**63 - 1}")
        found.append(("x-enginehouse-max-cost-nanos", str(max_cost_nanos)))
    return tuple(found)


def call_metadata(api_key: str, request_id: str, *, attempt: int = 1) -> tuple[tuple[str, str], ...]:
    """The headers of a call; `attempt` counts those that are parts of one answer."""
    metadata = (("authorization", f"Bearer {api_key}"), (REQUEST_ID_HEADER, request_id))
    return metadata if attempt == 1 else (*metadata, (ATTEMPT_HEADER, str(attempt)))


def new_request_id() -> str:
    """An id that no other request has."""
    return f"req_{uuid.uuid4().hex}"

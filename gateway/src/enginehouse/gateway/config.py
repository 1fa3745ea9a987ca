"""The gateway's section of the configuration, checked once at start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pydantic

from enginehouse.kit.addresses import Address, parse_address, parse_addresses
from enginehouse.kit.config import ConfigError, Section

__all__ = ["EdgeSection", "GatewaySection"]


def _one(value: Any) -> Any:
    try:
        return parse_address(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _several(value: Any) -> Any:
    try:
        return parse_addresses(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


# Envoy is told these addresses in its bootstrap, so none of them may be "any free port".
OneAddress = Annotated[Address, pydantic.BeforeValidator(_one)]
Addresses = Annotated[tuple[Address, ...], pydantic.BeforeValidator(_several)]


class EdgeSection(Section):
    """Limits of the public listener. Durations are seconds, sizes are bytes."""

    max_request_bytes: int = pydantic.Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """The largest request body; a larger one ends as 413, or INVALID_ARGUMENT over gRPC."""
    max_media_bytes: int = pydantic.Field(default=26 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """The same for services that take recordings; at least as large. The router and the engines must take as much."""
    max_response_bytes: int = pydantic.Field(default=64 * 1024 * 1024, ge=1024)
    """The largest unary answer that is turned into JSON."""
    max_header_kib: int = pydantic.Field(default=60, ge=4, le=8192)
    """The largest request header block, in KiB."""
    max_header_count: int = pydantic.Field(default=100, ge=10, le=1000)
    """The most headers of a request."""
    request_headers_timeout_s: float = pydantic.Field(default=10, gt=0)
    """How long a client may take to send its headers."""
    request_timeout_s: float = pydantic.Field(default=60, gt=0)
    """How long a client may take to send the whole request."""
    stream_idle_timeout_s: float = pydantic.Field(default=300, gt=0)
    """How long a stream may stand still in both directions; it bounds a client that stops reading."""
    connection_idle_timeout_s: float = pydantic.Field(default=3600, gt=0)
    """How long a connection may carry no request."""
    first_byte_timeout_s: float = pydantic.Field(default=120, gt=0)
    """How long an engine may send nothing before another is tried; keep it above the worst time to first token."""
    retry_percent: float = pydantic.Field(default=25, ge=0, le=100)
    """The most requests that may be on their way to a second or later engine, as a percentage of all under way."""
    retry_concurrency: int = pydantic.Field(default=20, ge=0, le=10_000)
    """How many may be in any case."""
    max_connections: int = pydantic.Field(default=10_000, ge=1)
    """The most client connections; further ones are refused."""
    max_heap_bytes: int = pydantic.Field(default=2 * 1024 * 1024 * 1024, ge=64 * 1024 * 1024)
    """The memory near which Envoy sheds new requests."""
    max_streams_per_connection: int = pydantic.Field(default=2048, ge=1)
    """The most HTTP/2 requests at once on one client connection."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins whose pages may call; `*` allows any. Credentials are never allowed, so a page needs a key of its own."""
    authorization_timeout_s: float = pydantic.Field(default=4, gt=0)
    """How long the router may take to decide; keep it above `router.ledger.budget_wait_s`."""
    trusted_proxies: int = pydantic.Field(default=0, ge=0, le=16)
    """How many proxies in front append to `x-forwarded-for`."""
    access_log: str = "/dev/stdout"
    """The file for the JSON access log; empty for none."""
    tls_certificate_file: Path | None = None
    """The certificate chain (PEM) of the public door; with `tls_key_file` it serves HTTPS alone."""
    tls_key_file: Path | None = None
    """The certificate's private key (PEM), readable by Envoy."""

    @pydantic.model_validator(mode="after")
    def _media_is_the_larger(self) -> EdgeSection:
        if self.max_media_bytes < self.max_request_bytes:
            raise ValueError(
                f"max_media_bytes {self.max_media_bytes} must be at least max_request_bytes, {self.max_request_bytes}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _tls_is_whole(self) -> EdgeSection:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together; set both or neither")
        return self


class GatewaySection(Section):
    """The addresses of the gateway, Envoy and the router, and the gateway's own settings."""

    public_listen: OneAddress
    """Envoy's public listener."""
    grpc_listen: OneAddress
    """The gateway's gRPC door: ADS for Envoy, the registry, health and reflection."""
    http_listen: OneAddress
    """Metrics and health of the gateway."""
    router_http: Addresses
    """The routers' decision doors, separated by commas; IP addresses."""
    envoy_admin: OneAddress
    """Envoy's administration; keep it on a loopback address."""
    state_file: Path
    """Where the last known engines are kept, so that a restart changes nothing for clients."""
    lease_s: int = pydantic.Field(default=3, ge=1, le=300)
    """How long an engine stays listed without a sign of life, in seconds."""
    grace_s: float = pydantic.Field(default=5, gt=0, le=300)
    """How long restored engines may take to come back after a restart of the gateway, in seconds."""
    otlp_endpoint: OneAddress | None = None
    """An OpenTelemetry collector (OTLP over gRPC); unset means no traces."""
    trace_share: float = pydantic.Field(default=1.0, ge=0, le=1)
    """The share of requests traced when the client did not decide, 0 to 1."""
    edge: EdgeSection = EdgeSection()
    """What the public door allows."""

    @pydantic.model_validator(mode="after")
    def _routers_are_literal(self) -> GatewaySection:
        for address in self.router_http:
            if not address.host.replace(".", "").isdigit() and ":" not in address.host:
                raise ValueError(f"router_http: {address.host!r} is a name; give the routers' IP addresses")
        return self

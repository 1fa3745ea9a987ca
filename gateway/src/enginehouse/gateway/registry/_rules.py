"""The rules that an engine's description must keep to."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.gateway.translate.names import ROUTER_ENGINE_CLUSTER
from enginehouse.kit.addresses import parse_address
from enginehouse.kit.config import ConfigError
from enginehouse.kit.contracts import Contracts, Exposure
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_ENGINE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CLUSTER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_MODEL = re.compile(r"[^\x00-\x20\x7f,]{1,128}")
_MAX_SERVICES = 64
_MAX_MODELS = 1000

# Every server has these for itself, and Envoy has its own.
_RESERVED_PREFIXES = ("grpc.", "envoy.", "enginehouse.api.gateway.")
# Routers of a newer version may serve what the contracts here do not know yet.
_ROUTER_PACKAGE = "enginehouse.api.router."


def check_engine(engine: registry_pb2.Engine, *, contracts: Contracts, peer: str = "") -> None:
    """Refuse an engine whose description cannot be routed.

    Args:
        engine: the description.
        contracts: which services are internal, and which are the routers' alone.
        peer: where it calls from, as gRPC says it (`ipv4:10.0.0.7:53012`); empty if unknown.

    Raises:
        ServiceError: INVALID_REQUEST with one violation for each field at fault.
    """
    violations = [*_names(engine), *_address(engine.address, peer), *_services(engine, contracts), *_models(engine)]
    if engine.capacity < 0:
        violations.append(FieldViolation("engine.capacity", f"{engine.capacity} is negative; give 0 or more"))
    if len(engine.version) > 128:
        violations.append(FieldViolation("engine.version", "is over 128 characters; shorten it"))
    _raise(engine.engine_id or "without a name", violations)


def check_load(load: registry_pb2.Load) -> None:
    """Refuse a load that cannot be true.

    Raises:
        ServiceError: INVALID_REQUEST with one violation for each field at fault.
    """
    violations = [
        FieldViolation(f"load.{name}", f"{value} is negative; give 0 or more")
        for name, value in (("active", load.active), ("queued", load.queued))
        if value < 0
    ]
    if not (math.isfinite(load.kv_cache_used) and 0 <= load.kv_cache_used <= 1):
        violations.append(FieldViolation("load.kv_cache_used", f"{load.kv_cache_used} is not a share of 0 to 1"))
    violations += [
        FieldViolation("load.tallies", f"{tally.model[:128]!r} has a negative count; counts only rise")
        for tally in load.tallies
        if min(tally.answered, tally.failed) < 0
    ]
    _raise("the load report", violations)


def _raise(what: str, violations: list[FieldViolation]) -> None:
    if violations:
        first = violations[0]
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"engine {what!r} is refused: {first.field}: {first.description}",
            violations=violations,
        )


def _names(engine: registry_pb2.Engine) -> Iterator[FieldViolation]:
    if not _ENGINE_ID.fullmatch(engine.engine_id):
        yield FieldViolation("engine.engine_id", f"{engine.engine_id[:80]!r} must be 1-64 characters of [A-Za-z0-9_.-]")
    if not _CLUSTER.fullmatch(engine.cluster):
        yield FieldViolation(
            "engine.cluster", f"{engine.cluster[:80]!r} must be 1-63 characters of [a-z0-9-], not - at either end"
        )


def _address(text: str, peer: str) -> Iterator[FieldViolation]:
    field = "engine.address"
    try:
        address = parse_address(text)
        host = ipaddress.ip_address(address.host)
    except (ConfigError, ValueError):
        yield FieldViolation(field, f"{text[:80]!r} must be a literal IP address and a port, such as 10.0.0.7:18020")
        return
    if host.is_unspecified or host.is_multicast:
        yield FieldViolation(field, f"{text!r} is not one machine's address; give the one that Envoy can reach")
    elif host.is_loopback and not _is_local(peer):
        yield FieldViolation(
            field,
            f"{text!r} is loopback, and the engine is on another machine; give that machine's address",
        )


def _is_local(peer: str) -> bool:
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return True
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _services(engine: registry_pb2.Engine, contracts: Contracts) -> Iterator[FieldViolation]:
    services = list(engine.grpc_services)
    field = "engine.grpc_services"
    if not services:
        yield FieldViolation(field, "is empty; name the gRPC services that the engine serves")
    if len(services) > _MAX_SERVICES:
        yield FieldViolation(field, f"has {len(services)} entries; at most {_MAX_SERVICES} are taken")
        return
    if len(set(services)) != len(services):
        yield FieldViolation(field, "names a service twice; name each once")
    for at, service in enumerate(services):
        here = f"{field}[{at}]"
        known = contracts.services.get(service)
        exposure = Exposure.ENGINE if known is None else known.exposure
        routers = exposure is Exposure.ROUTER or service.startswith(_ROUTER_PACKAGE)
        if len(service) > 256 or not _SERVICE.fullmatch(service):
            yield FieldViolation(here, f"{service[:80]!r} is not the full name of a gRPC service, as in pkg.v1.Service")
        elif exposure is Exposure.INTERNAL or service.startswith(_RESERVED_PREFIXES):
            yield FieldViolation(here, f"{service} is reserved and never routed to engines; leave it out")
        elif routers and engine.cluster != ROUTER_ENGINE_CLUSTER:
            yield FieldViolation(
                here, f"{service} belongs to the cluster {ROUTER_ENGINE_CLUSTER!r}, not to {engine.cluster!r}"
            )


def _models(engine: registry_pb2.Engine) -> Iterator[FieldViolation]:
    field = "engine.models"
    if len(engine.models) > _MAX_MODELS:
        yield FieldViolation(field, f"has {len(engine.models)} entries; at most {_MAX_MODELS} are taken")
        return
    names = [model.name for model in engine.models]
    if len(set(names)) != len(names):
        yield FieldViolation(field, "names a model twice; name each once")
    for at, model in enumerate(engine.models):
        if not _MODEL.fullmatch(model.name):
            yield FieldViolation(
                f"{field}[{at}].name", f"{model.name[:80]!r} must be 1-128 characters without spaces or commas"
            )
        if model.context_tokens < 0:
            yield FieldViolation(f"{field}[{at}].context_tokens", f"{model.context_tokens} is negative")

"""The part of the installed contracts that the edge needs: paths, services, and how requests travel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from enginehouse.kit.contracts import Body, Contracts, Exposure, Service


@dataclass(frozen=True, kw_only=True)
class EdgeContracts:
    """The facts that routes and filters follow from, without descriptors.

    Attributes:
        descriptor_set: a serialized FileDescriptorSet: the contracts, what they import, and what errors carry.
        services: full names of the services that clients may call.
        internal_services: full names of the services that are never routed, whoever says that they serve them.
        router_services: those of `services` that routers alone serve.
        json_services: those of `services` with HTTP paths.
        openai_services: those of `services` whose errors have OpenAI's form.
        openai_methods: verb and path template of each of their HTTP forms.
        own_methods: the same of the other services for clients.
        media_services: those of `services` whose requests may hold recordings, images or videos.
        replayed_services: those of `services` whose answers the routers keep and give again themselves.
        header_methods: gRPC paths of the methods that are decided before their body is read.
    """

    descriptor_set: bytes
    services: tuple[str, ...]
    internal_services: frozenset[str]
    router_services: frozenset[str]
    json_services: tuple[str, ...]
    openai_services: frozenset[str]
    openai_methods: tuple[tuple[str, str], ...]
    own_methods: tuple[tuple[str, str], ...]
    media_services: frozenset[str]
    replayed_services: frozenset[str]
    header_methods: tuple[str, ...]


def edge_contracts(contracts: Contracts) -> EdgeContracts:
    """Return what the edge needs of these contracts."""
    services = [service for service in contracts.services.values() if service.exposure is not Exposure.INTERNAL]
    openai = [service for service in services if service.openai_errors]
    methods = [method for service in services for method in service.methods]
    return EdgeContracts(
        descriptor_set=contracts.files.SerializeToString(deterministic=True),
        services=tuple(sorted(service.name for service in services)),
        internal_services=frozenset(contracts.exposed(Exposure.INTERNAL)),
        router_services=frozenset(contracts.exposed(Exposure.ROUTER)),
        json_services=tuple(sorted({method.service for method in methods if method.http})),
        openai_services=frozenset(service.name for service in openai),
        openai_methods=_http_forms(openai),
        own_methods=_http_forms(service for service in services if not service.openai_errors),
        media_services=frozenset(method.service for method in methods if method.body is Body.MEDIA),
        replayed_services=frozenset(method.service for method in methods if method.replayable),
        header_methods=tuple(sorted(method.path for method in methods if method.body is Body.HEADERS)),
    )


def _http_forms(services: Iterable[Service]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(form for service in services for method in service.methods for form in method.http))

"""The snapshot of Envoy's whole configuration, as a pure function of the live engines and the gateway's settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from enginehouse.gateway.config import GatewaySection
from enginehouse.gateway.translate.clusters import collector_cluster, endpoints, engine_cluster
from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.listener import public_listener
from enginehouse.gateway.translate.names import (
    COLLECTOR_CLUSTER,
    LISTENER,
    ROUTES,
    TYPE_CLUSTER,
    TYPE_ENDPOINTS,
    TYPE_LISTENER,
    TYPE_ROUTES,
)
from enginehouse.gateway.translate.routes import RouteTable
from enginehouse.kit.addresses import Address


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The services, their clusters, and the endpoints of those.

    Attributes:
        services: the cluster of each gRPC service ever seen, by full name. A service whose engines are all gone keeps
            its place, so that clients are told UNAVAILABLE and not that it does not exist.
        endpoints: the addresses of engines that take new requests, by cluster; every cluster of `services` is here.
    """

    services: Mapping[str, str]
    endpoints: Mapping[str, tuple[Address, ...]]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One state of Envoy's configuration.

    Attributes:
        resources: serialized resources by type URL and name.
        versions: a hash of each type's resources: equal content has equal versions, in any process.
    """

    resources: Mapping[str, Mapping[str, bytes]]
    versions: Mapping[str, str]


class Translator:
    """The translation of topologies into snapshots: equal ones give equal snapshots. Constants are serialized once."""

    def __init__(self, *, section: GatewaySection, contracts: EdgeContracts) -> None:
        self._section = section
        self._listeners = MappingProxyType({LISTENER: bytes(public_listener(section, contracts=contracts))})
        self._listeners_version = _version(self._listeners)
        # The messages are slow to make, and a registration must not wait for those that it does not change.
        self._clusters: dict[str, bytes] = {}
        self._routes = RouteTable(contracts=contracts, edge=section.edge)
        # The first message of each class takes a hundred times as long as the next: better now than for an engine.
        self.snapshot(Topology(services={"warm.Up": "warm-up"}, endpoints={"warm-up": (Address("127.0.0.1", 1),)}))

    def snapshot(self, topology: Topology) -> Snapshot:
        """Return the configuration that serves a topology."""
        resources: dict[str, Mapping[str, bytes]] = {
            TYPE_CLUSTER: self._cluster_resources(topology),
            TYPE_ENDPOINTS: {
                name: bytes(endpoints(name, sorted(addresses)))
                for name, addresses in sorted(topology.endpoints.items())
            },
            TYPE_LISTENER: self._listeners,
            TYPE_ROUTES: {ROUTES: self._routes.serialized(topology.services)},
        }
        versions = {
            kind: self._listeners_version if kind == TYPE_LISTENER else _version(items)
            for kind, items in resources.items()
        }
        return Snapshot(resources=resources, versions=versions)

    def _cluster_resources(self, topology: Topology) -> Mapping[str, bytes]:
        names = set(topology.endpoints)
        collector = self._section.otlp_endpoint
        if collector is not None:
            names.add(COLLECTOR_CLUSTER)
        for name in names - self._clusters.keys():
            if collector and name == COLLECTOR_CLUSTER:
                made = collector_cluster(collector)
            else:
                made = engine_cluster(name, edge=self._section.edge)
            self._clusters[name] = bytes(made)
        return {name: self._clusters[name] for name in sorted(names)}


def _version(items: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(items.items()):
        for part in (name.encode(), value):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:16]

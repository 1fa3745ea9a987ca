"""The topology of the mesh, the engines that take new requests, as a pure function of the leases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from enginehouse.gateway.registry import Lease
from enginehouse.gateway.translate.snapshot import Topology
from enginehouse.kit.addresses import Address, parse_address


def topology(leases: Iterable[Lease], services: Mapping[str, str]) -> Topology:
    """Return the topology of these leases.

    Args:
        leases: all that hold; engines that drain are left out, because they take nothing new.
        services: the cluster of each gRPC service ever seen.
    """
    addresses: dict[str, list[Address]] = {cluster: [] for cluster in services.values()}
    for lease in leases:
        if not lease.load.draining:
            addresses.setdefault(lease.engine.cluster, []).append(parse_address(lease.engine.address))
    return Topology(services=dict(services), endpoints={name: tuple(found) for name, found in addresses.items()})

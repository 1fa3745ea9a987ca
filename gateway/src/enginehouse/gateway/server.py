"""The gateway's process: its servers, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

import grpc
from prometheus_client import CollectorRegistry

from enginehouse.api.gateway.v1 import registry_pb2_grpc
from enginehouse.gateway.ads import AdsServer, SnapshotFeed
from enginehouse.gateway.config import GatewaySection
from enginehouse.gateway.control_plane import ControlPlane
from enginehouse.gateway.metrics import AdsMetrics, RegistryMetrics
from enginehouse.gateway.reflection import MeshHealth, mesh_reflection
from enginehouse.gateway.registry import Registry, RegistryServicer
from enginehouse.gateway.state_file import StateFile
from enginehouse.gateway.translate.contracts import edge_contracts
from enginehouse.gateway.translate.snapshot import Translator
from enginehouse.kit.config import ConfigError
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.tasks import close_all
from enginehouse.kit.telemetry import MetricsServer

_log = logging.getLogger(__name__)

_OPTIONS = (
    # A second gateway on the port must fail, not take half of the engines.
    ("grpc.so_reuseport", 0),
    # A proxy introduces itself with a list of all its extensions.
    ("grpc.max_receive_message_length", 16 << 20),
    # A proxy asks every five seconds whether the gateway lives; by default gRPC takes that for abuse and hangs up.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
)


async def serve(section: GatewaySection) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Raises:
        ConfigError: an address cannot be listened on, or the state file cannot be written.
    """
    metrics = CollectorRegistry()
    registry_metrics = RegistryMetrics(metrics)
    contracts = load_contracts()
    edge = edge_contracts(contracts)
    feed = SnapshotFeed()
    registry = Registry(
        contracts=contracts, lease_s=section.lease_s, clock=time.monotonic, ended=registry_metrics.ended
    )
    health = MeshHealth()
    control_plane = ControlPlane(
        registry=registry,
        translator=Translator(section=section, contracts=edge),
        feed=feed,
        state_file=StateFile(path=section.state_file),
        health=health,
        metrics=registry_metrics,
        grace_s=section.grace_s,
    )
    server = grpc.aio.server(options=_OPTIONS)
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(RegistryServicer(registry=registry), server)
    AdsServer(feed=feed, metrics=AdsMetrics(metrics)).add_to(server)
    mesh_reflection(edge, services=registry.services).add_to(server)
    health.add_to(server)
    http = MetricsServer(listen=str(section.http_listen), registry=metrics, ready=lambda: control_plane.running)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    _bind(server, str(section.grpc_listen))
    await http.start()
    await control_plane.start()
    await server.start()
    _log.info("serving ADS and the registry at %s, metrics at %s", section.grpc_listen, section.http_listen)
    await stop.wait()
    _log.info("stopping; proxies keep what they have")
    await close_all(control_plane.stop, lambda: server.stop(grace=0.2), http.close)


def _bind(server: grpc.aio.Server, address: str) -> None:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ConfigError(
            f"gateway.grpc_listen: {address} cannot be listened on: it is in use or not this machine's; stop what uses "
            "it or configure another"
        )

"""The server of an engine: grpc.aio with health, reflection, limits, and a drain that loses no usage."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc
import uvloop
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from enginehouse.kit._documents import ConfigError
from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.server._handlers import Gate, MethodHandlers, UnknownMethods
from enginehouse.kit.server.reflection import Reflection, SymbolIndex, loaded_files
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.tasks import close_all
from enginehouse.kit.telemetry import RpcMetrics, Tracing
from enginehouse.kit.usage import Spool, UsageReporter

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20
_HEALTH = "grpc.health.v1.Health"

AddServicer = Callable[[grpc.aio.Server], None]
"""A function that adds one servicer to a server: `lambda server: add_GreeterServicer_to_server(greeter, server)`."""

T = TypeVar("T")


class EngineServer:
    """A gRPC server that serves until a signal, then drains.

    A drain first closes the lease, so that the gateway sends no more calls; refuses new calls with ENGINE_DRAINING;
    lets running calls finish, for up to `drain_s`; reports their usage; and then closes the listener.

    Args:
        listen: `host:port`; port 0 takes a free one.
        services: one function for each service, which adds its servicer.
        lease: returns the registry lease for the address that is served; None to stay unregistered.
        reporter: started and flushed with the server; None if nothing is reported.
        spool: closed at the end; None if there is none.
        metrics: None for none.
        tracing: None for none.
        drain_s: seconds that running calls may take to finish after the signal.
        flush_s: seconds to wait for usage to be acknowledged; unacknowledged usage stays in the spool.
        max_message_bytes: the largest request and response.
    """

    def __init__(
        self,
        *,
        listen: str,
        services: Sequence[AddServicer],
        lease: Callable[[Address], RegistryLease] | None = None,
        reporter: UsageReporter | None = None,
        spool: Spool | None = None,
        metrics: RpcMetrics | None = None,
        tracing: Tracing | None = None,
        drain_s: float = 30.0,
        flush_s: float = 5.0,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._listen = parse_listen(listen)
        self._services = services
        self._make_lease = lease
        self._lease: RegistryLease | None = None
        self._reporter = reporter
        self._spool = spool
        self._metrics = metrics
        self._tracing = tracing
        self._drain_s = drain_s
        self._flush_s = flush_s
        self._max_message_bytes = max_message_bytes
        self._gate = Gate()
        self._health = HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._names: tuple[str, ...] = ()

    @property
    def service_names(self) -> tuple[str, ...]:
        """The full names of the services, without health and reflection; known once started."""
        return self._names

    @property
    def active(self) -> int:
        """The number of calls being served."""
        return self._gate.active

    @property
    def ready(self) -> bool:
        """True while calls are accepted."""
        return self._server is not None and not self._gate.draining

    async def start(self) -> Address:
        """Listen, start to report usage, register; return the address with its actual port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        limit = self._max_message_bytes
        server = grpc.aio.server(
            options=(
                # A little above the limit, so that a message just over it gets a typed error.
                ("grpc.max_receive_message_length", limit + (limit >> 2)),
                ("grpc.max_send_message_length", limit + (limit >> 2)),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.http2.max_pings_without_data", 0),
            )
        )
        methods = MethodHandlers(
            gate=self._gate,
            max_request_bytes=limit,
            metrics=self._metrics,
            tracing=self._tracing,
        )
        if self._metrics is not None:
            self._metrics.watch_active(lambda: self._gate.active)
        collector = _Collector()
        for add in self._services:
            add(collector)  # type: ignore[arg-type]
        for name, handlers in collector.services.items():
            for method, handler in handlers.items():
                methods.add(f"/{name}/{method}", handler)
        server.add_generic_rpc_handlers((methods,))
        self._names = tuple(collector.services)
        self._add_health_and_reflection(server)
        server.add_generic_rpc_handlers((UnknownMethods(self._names),))
        try:
            port = server.add_insecure_port(str(self._listen))
        except RuntimeError:
            port = 0
        if port == 0:
            raise ConfigError(
                f"address {self._listen} cannot be listened on: it is in use or not this machine's; stop what uses it "
                "or configure another"
            )
        await server.start()
        self._server = server
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        if self._reporter is not None:
            self._reporter.start()
        address = Address(self._listen.host, port)
        if self._make_lease is not None:
            self._lease = self._make_lease(address)
            self._lease.start()
        _log.info("serving %s on %s", ", ".join(self._names), address)
        return address

    async def serve_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. A second signal ends the wait for running calls."""
        _spare_the_collector()
        loop = asyncio.get_running_loop()
        first, second = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            (second if first.is_set() else first).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            await first.wait()
            _log.info("draining: %d calls have up to %g s to finish", self._gate.active, self._drain_s)
            await self.drain(hurry=second)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def drain(self, *, hurry: asyncio.Event | None = None) -> None:
        """Deregister, refuse new calls, let running ones finish, report their usage, and stop.

        Args:
            hurry: once set, running calls are cut off.
        """
        if self._server is None:
            return
        if self._lease is not None:
            await self._lease.close()
        self._gate.draining = True
        await self._health.enter_graceful_shutdown()
        waits = [asyncio.create_task(self._gate.idle.wait())]
        if hurry is not None:
            waits.append(asyncio.create_task(hurry.wait()))
        await asyncio.wait(waits, timeout=self._drain_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._gate.active:
            _log.warning("%d calls did not finish in time and are cut off", self._gate.active)
        # Time for the statuses of calls that have just ended to be sent.
        await self._server.stop(0.2 if not self._gate.active else 0)
        try:
            async with asyncio.timeout(2):
                await self._gate.idle.wait()
        except TimeoutError:
            _log.error("%d handlers ignore their cancellation", self._gate.active)
        self._server = None
        reporter, spool, tracing = self._reporter, self._spool, self._tracing
        steps: list[Callable[[], Awaitable[object]]] = []
        if reporter is not None:
            steps += [lambda: reporter.flush(timeout_s=self._flush_s), reporter.close]
        if spool is not None:
            steps.append(_in_order(spool.close))
        if tracing is not None:
            steps.append(lambda: asyncio.to_thread(tracing.close))
        await close_all(*steps)

    def _add_health_and_reflection(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*self._names, _HEALTH)
        # What errors carry inside Any is described too: no contract imports it.
        status = (error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR)
        index = SymbolIndex(loaded_files(names, also=status))
        Reflection(index=index, services=lambda: names).add_to(server)


class _Collector:
    """A stand-in for a server, to which generated code adds servicers, so that their handlers can be wrapped."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Do nothing; generated code calls this as well, with the same handlers."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        """Store a service's handlers by method."""
        self.services[service_name] = dict(method_handlers)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's main coroutine on uvloop."""
    return uvloop.run(_untracked(main))


async def _untracked(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine without the loop's list of all asynchronous generators, which costs each of them 2 us.

    The list is for closing what is left of them at the end. A drained server has none left: handlers close theirs.
    """
    sys.set_asyncgen_hooks(firstiter=None)
    return await main


def _spare_the_collector() -> None:
    """Have cycles looked for seldom, and not among what was loaded: calls leave few, and each search costs them all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _in_order(step: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Return a step of a teardown that waits for nothing."""

    async def run() -> None:
        step()

    return run

"""The router and the gateway that the suite plays towards the engine."""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.config import ConfigError
from enginehouse.kit.testing import RegistryRecorder, UsageRecorder


class Answering(enum.Enum):
    """The ways in which the router answers usage records."""

    SETTLED = "settled"
    """Settled once; repetitions are acknowledged as settled already."""
    NOT = "not"
    """Not at all."""
    REJECTED = "rejected"
    """Rejected for ever."""
    ALREADY_SETTLED = "already settled"
    """Acknowledged, every one, as settled already."""


class RouterDouble(UsageRecorder):
    """A router's `UsageService`, whose answers the rules choose. Watermarks are always noted."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = Answering.SETTLED
        self.streams = 0
        """The number of streams that were opened."""

    async def Report(self, request_iterator: AsyncIterator[usage_pb2.ReportRequest], context: Any) -> Any:
        """Answer each report."""
        self.streams += 1
        async for response in super().Report(request_iterator, context):
            yield response

    def _settle(self, record: usage_pb2.UsageRecord) -> usage_pb2.ReportResponse.Status.ValueType | None:
        if self.answering is Answering.SETTLED:
            return super()._settle(record)
        self.received.append(record)
        if self.answering is Answering.NOT:
            return None
        if self.answering is Answering.REJECTED:
            return usage_pb2.ReportResponse.STATUS_REJECTED
        return usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED

    def records_of(self, token: str) -> list[usage_pb2.UsageRecord]:
        """Every record of a grant as it came, repetitions too."""
        return [record for record in self.received if record.grant == token]


class GatewayDouble(RegistryRecorder):
    """A gateway's `RegistryService` that also keeps when each load report came."""

    def __init__(self, *, lease_seconds: int) -> None:
        super().__init__(lease_seconds=lease_seconds)
        self.lease_seconds = lease_seconds
        self.reports: list[tuple[float, registry_pb2.Load]] = []
        """When each report came, on the monotonic clock, and its load."""
        self.first_requests: list[registry_pb2.RegisterRequest] = []
        """What each stream began with."""
        self.answers = True
        """True if load reports are answered."""

    async def Register(self, request_iterator: AsyncIterator[registry_pb2.RegisterRequest], context: Any) -> Any:
        """Hold a lease."""
        async for response in super().Register(self._noted(request_iterator), context):
            if self.answers:
                yield response

    async def _noted(
        self, requests: AsyncIterator[registry_pb2.RegisterRequest]
    ) -> AsyncIterator[registry_pb2.RegisterRequest]:
        first = True
        async for request in requests:
            if first:
                self.first_requests.append(request)
                first = False
            self.reports.append((time.monotonic(), request.load))
            yield request


class DoubleServer:
    """Serves a double at one address, and can be away for a while.

    Args:
        double: the router's or the gateway's.
        listen: `host:port`; port 0 takes a free one, and keeps it.
    """

    def __init__(self, double: RouterDouble | GatewayDouble, *, listen: str) -> None:
        self._double = double
        self._address = parse_listen(listen)
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where it serves, with the port taken."""
        return str(self._address)

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        for attempt in range(20):
            server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
            self._double.add_to(server)
            try:
                port = server.add_insecure_port(str(self._address))
            except RuntimeError:
                port = 0
            if port:
                await server.start()
                self._server = server
                self._address = Address(self._address.host, port)
                return
            if not self._address.port:
                break
            await asyncio.sleep(0.05 * (attempt + 1))
        raise ConfigError(f"address {self._address} cannot be listened on: it is in use or not this machine's")

    async def stop(self) -> None:
        """Break every stream and serve nothing."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def restart(self) -> None:
        """Break every stream, and serve again."""
        await self.stop()
        await self.start()

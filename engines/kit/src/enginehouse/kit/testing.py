"""Doubles for tests of engines: grants signed as a router signs them, and a router's and a gateway's services
that record what comes. Real servers over real sockets, and ports for processes. For tests in any distribution, and
for the conformance suite.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate, Principal
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, to_status
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, authenticate, sign
from enginehouse.kit.pricing import MAX_NANOS, Unit, unit_price


class ReservedPort:
    """A TCP port of 127.0.0.1 for a server that a test starts, and perhaps starts again, in another process.

    A port that was merely found free can be given to somebody else before the server listens on it. This one is held
    by a bound socket that does not listen: the kernel (Linux) gives the port to no other socket that asks for any
    port, and connections to it are refused, yet a server that sets SO_REUSEADDR can listen on it, as gRPC, Envoy and
    asyncio do.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("127.0.0.1", 0))
        # After the bind, so that the kernel chose a port that no other reservation holds.
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._holder.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The port as `host:port`."""
        return f"127.0.0.1:{self.number}"

    def close(self) -> None:
        """Give the port back."""
        self._holder.close()


class GrantIssuer:
    """Issues grants as a router would.

    Args:
        keys: signs with them; fresh ones if None.
    """

    def __init__(self, keys: GrantKeys | None = None) -> None:
        self.keys = keys or GrantKeys({"test": os.urandom(32)})

    def grant(
        self,
        method: str,
        *,
        models: Sequence[str] = (),
        prices: Mapping[Unit, int] | None = None,
        cap_nanos: int = MAX_NANOS,
        accept_s: float = 10.0,
        expires_s: float = 300.0,
        issued_ago_s: float = 0.0,
        request_id: str = "",
        tenant: str = "tenant-test",
        replica_address: str = "",
        max_nanos: int = 0,
    ) -> Grant:
        """Return a grant for one call of a method ("/package.Service/Method") on any of the models, equally priced."""
        now = time.time_ns() // 1_000_000
        price_list = [unit_price(unit, price) for unit, price in (prices or {}).items()]
        return Grant(
            grant_id=f"grant-{uuid.uuid4().hex}",
            request_id=request_id or f"request-{uuid.uuid4().hex}",
            attempt=1,
            method=method,
            principal=Principal(tenant_id=tenant, key_id="key-test", scopes=["inference"], tier="pro"),
            candidates=[GrantCandidate(model=model, prices=price_list, cap_nanos=cap_nanos) for model in models],
            issued_at_ms=now - round(issued_ago_s * 1000),
            accept_by_ms=now + round(accept_s * 1000),
            expires_at_ms=now + round(expires_s * 1000),
            replica_id="router-test",
            replica_address=replica_address,
            max_nanos=max_nanos,
        )

    def metadata(self, method: str, **grant: Any) -> tuple[tuple[str, str], ...]:
        """The metadata that carries a new grant; arguments as for `grant`."""
        return ((GRANT_HEADER, sign(self.grant(method, **grant), keys=self.keys)),)


class UsageRecorder(usage_pb2_grpc.UsageServiceServicer):
    """A router's `UsageService` that settles each grant once, and keeps what was reported.

    Args:
        keys: records whose grant they did not sign are rejected; None accepts all.
        batches: says that it takes several records in one message.
        budget_nanos: what is left for requests that need more than was reserved; None for no bound.
        answer: decides what becomes of a record instead: a status, or None to leave it unanswered.
    """

    def __init__(
        self,
        *,
        keys: GrantKeys | None = None,
        batches: bool = True,
        budget_nanos: int | None = None,
        answer: Callable[[usage_pb2.UsageRecord], usage_pb2.ReportResponse.Status.ValueType | None] | None = None,
    ) -> None:
        self._keys = keys
        self._batches = batches
        self._answer = answer
        self._changed = asyncio.Condition()
        self.received: list[usage_pb2.UsageRecord] = []
        """Every record as it came, repetitions too."""
        self.settled: dict[str, usage_pb2.UsageRecord] = {}
        """The record of each grant that was settled, by grant token."""
        self.watermarks: list[usage_pb2.Watermark] = []
        self.budget_nanos = budget_nanos
        """What is left for `Extend`; None for no bound. A negative amount makes it unavailable."""
        self.extended: list[usage_pb2.ExtendRequest] = []

    async def Extend(self, request: usage_pb2.ExtendRequest, context: Any) -> usage_pb2.ExtendResponse:
        """Reserve more: what is wanted if the budget has it, else what is needed."""
        self.extended.append(request)
        left = self.budget_nanos
        if self._keys is None or (left is not None and left < 0):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the ledger is away")
        assert self._keys is not None
        grant = authenticate(request.grant, keys=self._keys)
        more = max(request.need_nanos, request.want_nanos)
        if left is not None:
            more = more if more <= left else request.need_nanos
            if more > left:
                error = ServiceError(Reason.BUDGET_EXHAUSTED, "the budget has no more", metadata={"scope": "key"})
                details = ((STATUS_DETAILS_KEY, to_status(error).SerializeToString()),)
                await context.abort(error.code, error.message, details)
            self.budget_nanos = left - more
        for candidate in grant.candidates:
            if candidate.model == request.model:
                candidate.cap_nanos += more
        return usage_pb2.ExtendResponse(grant=sign(grant, keys=self._keys))

    async def Report(
        self, request_iterator: AsyncIterator[usage_pb2.ReportRequest], context: Any
    ) -> AsyncIterator[usage_pb2.ReportResponse]:
        """Answer each report."""
        async for request in request_iterator:
            kind = request.WhichOneof("report")
            if kind == "watermark":
                self.watermarks.append(request.watermark)
                answers = [
                    usage_pb2.ReportResponse(sequence=request.sequence, status=usage_pb2.ReportResponse.STATUS_NOTED)
                ]
            else:
                records = [request.record] if kind == "record" else list(request.batch.records)
                answers = [
                    usage_pb2.ReportResponse(sequence=sequence, status=status)
                    for sequence, record in enumerate(records, start=request.sequence)
                    if (status := self._settle(record)) is not None
                ]
            async with self._changed:
                self._changed.notify_all()
            if answers:
                answers[0].takes_batches = self._batches
                answers[0].more.extend(answers[1:])
                yield answers[0]

    def _settle(self, record: usage_pb2.UsageRecord) -> usage_pb2.ReportResponse.Status.ValueType | None:
        self.received.append(record)
        if self._answer is not None:
            return self._answer(record)
        if self._keys is not None:
            try:
                authenticate(record.grant, keys=self._keys)
            except ServiceError:
                return usage_pb2.ReportResponse.STATUS_REJECTED
        if record.grant in self.settled:
            return usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED
        self.settled[record.grant] = record
        return usage_pb2.ReportResponse.STATUS_SETTLED

    async def wait_until(self, holds: Callable[[UsageRecorder], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until a condition on the recorder holds.

        Raises:
            TimeoutError: it does not within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: holds(self))

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        usage_pb2_grpc.add_UsageServiceServicer_to_server(self, server)


class RegistryRecorder(registry_pb2_grpc.RegistryServiceServicer):
    """A gateway's `RegistryService` that keeps who is registered and every load report.

    Args:
        lease_seconds: the lease that it grants.
    """

    def __init__(self, *, lease_seconds: int = 3) -> None:
        self._lease_seconds = lease_seconds
        self._changed = asyncio.Condition()
        self.live: dict[str, registry_pb2.Engine] = {}
        self.loads: list[registry_pb2.Load] = []
        self.registrations = 0

    async def Register(
        self, request_iterator: AsyncIterator[registry_pb2.RegisterRequest], context: Any
    ) -> AsyncIterator[registry_pb2.RegisterResponse]:
        """Hold a lease."""
        engine: registry_pb2.Engine | None = None
        try:
            async for request in request_iterator:
                response = registry_pb2.RegisterResponse()
                if engine is None:
                    engine = request.engine
                    self.live[engine.engine_id] = engine
                    self.registrations += 1
                    response.lease_seconds = self._lease_seconds
                self.loads.append(request.load)
                await self._notify()
                yield response
        finally:
            if engine is not None:
                self.live.pop(engine.engine_id, None)
                await self._notify()

    async def WatchEngines(
        self, request: registry_pb2.WatchEnginesRequest, context: Any
    ) -> AsyncIterator[registry_pb2.WatchEnginesResponse]:
        """Send the live engines, at once and after each change of membership."""
        sent: list[str] | None = None
        while True:
            async with self._changed:
                while sorted(self.live) == sent:
                    await self._changed.wait()
                sent = sorted(self.live)
            yield registry_pb2.WatchEnginesResponse(
                engines=[registry_pb2.LiveEngine(engine=self.live[name]) for name in sent]
            )

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_until(self, holds: Callable[[RegistryRecorder], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until a condition on the recorder holds.

        Raises:
            TimeoutError: it does not within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: holds(self))

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, server)

"""RegistryService over gRPC: streams become leases, and leases a stream for the routers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.gateway.registry._leases import Lease, LeaseEnd, Registry
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, to_status

_log = logging.getLogger(__name__)

_Context = grpc.aio.ServicerContext[registry_pb2.RegisterRequest, registry_pb2.RegisterResponse]
_WatchContext = grpc.aio.ServicerContext[registry_pb2.WatchEnginesRequest, registry_pb2.WatchEnginesResponse]

_FIRST_REQUEST_S = 5.0
# Loads are sent to each watcher this often at most; comings and goings at once.
_LOADS_EVERY_S = 0.1


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """The service that engines register with and routers watch."""

    def __init__(self, *, registry: Registry) -> None:
        self._registry = registry
        self._refused: dict[str, str] = {}

    async def Register(  # type: ignore[override]
        self, request_iterator: AsyncIterator[registry_pb2.RegisterRequest], context: _Context
    ) -> None:
        """Hold a lease for as long as the stream is open."""
        try:
            await self._hold(request_iterator, context)
        except ServiceError as error:
            status = to_status(error)
            await context.abort(error.code, error.message, ((STATUS_DETAILS_KEY, status.SerializeToString()),))

    async def _hold(self, requests: AsyncIterator[registry_pb2.RegisterRequest], context: _Context) -> None:
        lease = await self._admit(requests, context)
        engine = lease.engine
        _log.info(
            "engine %s joins cluster %s at %s with %d services and %d models",
            *(engine.engine_id, engine.cluster, engine.address, len(engine.grpc_services), len(engine.models)),
        )
        ended = asyncio.ensure_future(lease.ended.wait())
        read: asyncio.Future[registry_pb2.RegisterRequest | None] | None = None
        try:
            await context.write(registry_pb2.RegisterResponse(lease_seconds=int(self._registry.lease_s)))
            while True:
                read = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait((read, ended), return_when=asyncio.FIRST_COMPLETED)
                if lease.end is not None:
                    raise _ended(lease, self._registry.lease_s)
                request = read.result()
                if request is None:
                    return
                if request.HasField("engine") and request.engine != engine:
                    raise ServiceError(
                        Reason.INVALID_REQUEST,
                        f"engine {engine.engine_id!r} described itself anew; open a new Register stream for that",
                    )
                self._registry.renew(lease, request.load)
                await context.write(registry_pb2.RegisterResponse())
        finally:
            self._registry.release(lease)
            for future in (read, ended):
                if future is not None:
                    future.cancel()
            _log.info("engine %s is gone: %s", engine.engine_id, lease.end.value if lease.end else "released")

    async def _admit(self, requests: AsyncIterator[registry_pb2.RegisterRequest], context: _Context) -> Lease:
        try:
            async with asyncio.timeout(_FIRST_REQUEST_S):
                first = await anext(requests, None)
        except TimeoutError:
            raise ServiceError(
                Reason.DEADLINE_EXCEEDED, f"no request within {_FIRST_REQUEST_S:g} s; send the engine's description"
            ) from None
        if first is None or not first.HasField("engine"):
            raise ServiceError(Reason.INVALID_REQUEST, "the first request has no engine; describe the engine in it")
        engine_id = first.engine.engine_id[:64]
        try:
            lease = self._registry.register(first.engine, first.load, peer=context.peer())
        except ServiceError as error:
            # A refused engine tries again many times a second.
            if self._refused.get(engine_id) != error.message:
                if len(self._refused) > 1000:
                    self._refused.clear()
                self._refused[engine_id] = error.message
                _log.warning("refused: %s", error.message)
            raise
        self._refused.pop(engine_id, None)
        return lease

    async def WatchEngines(
        self, request: registry_pb2.WatchEnginesRequest, context: _WatchContext
    ) -> AsyncIterator[registry_pb2.WatchEnginesResponse]:
        """Yield the whole set at once, then after every change."""
        loop = asyncio.get_running_loop()
        registry = self._registry
        while True:
            membership, load = registry.membership.value, registry.load.value
            yield registry_pb2.WatchEnginesResponse(engines=registry.live())
            sent_at = loop.time()
            member = asyncio.ensure_future(registry.membership.after(membership))
            busier = asyncio.ensure_future(registry.load.after(load))
            try:
                done, _ = await asyncio.wait((member, busier), return_when=asyncio.FIRST_COMPLETED)
                if member not in done:
                    await asyncio.wait((member,), timeout=max(0.0, sent_at + _LOADS_EVERY_S - loop.time()))
            finally:
                member.cancel()
                busier.cancel()


def _ended(lease: Lease, lease_s: float) -> ServiceError:
    if lease.end is LeaseEnd.REPLACED:
        return ServiceError(
            Reason.ALREADY_EXISTS,
            f"a newer engine registered as {lease.engine.engine_id!r} or at {lease.engine.address}; this lease is over",
        )
    return ServiceError(
        Reason.DEADLINE_EXCEEDED, f"no load report for {lease_s:g} s, so the lease lapsed; register again"
    )

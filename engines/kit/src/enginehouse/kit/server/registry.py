"""The lease that an engine holds in the gateway's registry; while it lasts, the gateway sends requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.kit.addresses import parse_address
from enginehouse.kit.tasks import BackgroundTask

_RegisterCall: TypeAlias = "grpc.aio.StreamStreamCall[registry_pb2.RegisterRequest, registry_pb2.RegisterResponse]"

_log = logging.getLogger(__name__)

# An engine registers within 200 ms of its gateway's return: it tries to connect every 100 to 150 ms.
_RETRY_S = 0.1
_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
_LOAD_CHECK_S = 0.2
_FIRST_ANSWER_S = 5.0


class RegistryLease:
    """A lease that keeps an engine registered until it is closed, and registers it again after every loss.

    Args:
        gateway_address: `host:port` of the gateway's registry.
        engine: the engine's description.
        load: returns its current load, which is reported when it changes, at most five times a second, and at least
            three times a lease.
    """

    def __init__(
        self, *, gateway_address: str, engine: registry_pb2.Engine, load: Callable[[], registry_pb2.Load]
    ) -> None:
        self._target = str(parse_address(gateway_address))
        self._engine = engine
        self._load = load
        self._task = BackgroundTask(self._hold_for_ever, name="registry-lease")
        self._closing = asyncio.Event()
        self.registered = asyncio.Event()
        """Set while the registry has accepted the lease."""

    def start(self) -> None:
        """Start to register."""
        self._task.start()

    async def close(self, *, timeout_s: float = 1.0) -> None:
        """Deregister: end the stream, and wait for the registry to end it too."""
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._task.wait()
        await self._task.close()

    async def _hold_for_ever(self) -> None:
        lost = False
        while not self._closing.is_set():
            try:
                await self._hold()
                reason = "the registry ended the lease"
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
            except TimeoutError:
                reason = "the registry does not answer"
            except Exception:
                _log.exception("registering failed; trying again")
                reason = "a defect, see above"
            was_registered = self.registered.is_set()
            self.registered.clear()
            if self._closing.is_set():
                return
            if was_registered or not lost:
                _log.warning("not registered at %s (%s); trying again", self._target, reason)
            lost = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await self._closing.wait()

    async def _hold(self) -> None:
        async with grpc.aio.insecure_channel(self._target, options=_CHANNEL_OPTIONS) as channel:
            stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)
            call = stub.Register()
            reporter: asyncio.Task[None] | None = None
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(_FIRST_ANSWER_S) as watch:
                    await call.write(registry_pb2.RegisterRequest(engine=self._engine, load=self._load()))
                    lease_s = 0.0
                    async for response in self._answers(call):
                        if response.lease_seconds:
                            lease_s = float(response.lease_seconds)
                        if reporter is None:
                            lease_s = lease_s or 3.0
                            reporter = asyncio.create_task(self._report_load(call, lease_s), name="registry-load")
                            self.registered.set()
                            _log.info("registered at %s as %s", self._target, self._engine.engine_id)
                        # The registry answers each load report, so silence for a lease means that it hangs.
                        watch.reschedule(loop.time() + lease_s)
            finally:
                if reporter is not None:
                    reporter.cancel()
                    await asyncio.gather(reporter, return_exceptions=True)
                call.cancel()

    async def _answers(self, call: _RegisterCall) -> AsyncIterator[registry_pb2.RegisterResponse]:
        async for response in call:
            yield response

    async def _report_load(self, call: _RegisterCall, lease_s: float) -> None:
        loop = asyncio.get_running_loop()
        reported = self._load()
        report_at = loop.time() + lease_s / 3
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_LOAD_CHECK_S, lease_s / 6)):
                    await self._closing.wait()
            if self._closing.is_set():
                await call.done_writing()
                return
            load = self._load()
            if load != reported or loop.time() >= report_at:
                await call.write(registry_pb2.RegisterRequest(load=load))
                reported = load
                report_at = loop.time() + lease_s / 3

"""Reflection and health of the whole mesh: the services that clients may call now, from the installed contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.names import HEALTH_SERVICE, REFLECTION_SERVICES

_Context = grpc.aio.ServicerContext[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse]
_Responses = AsyncIterator[reflection_pb2.ServerReflectionResponse]


class MeshReflection:
    """Reflection for every service that engines registered, under both of reflection's names.

    Args:
        contracts: the source of descriptors; a service that is not in them is listed without one.
        services: returns the full names of the services known now.
    """

    def __init__(self, *, contracts: EdgeContracts, services: Callable[[], Iterable[str]]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(contracts.descriptor_set).file:
            self._pool.Add(file)
        for module in (health_pb2, reflection_pb2):
            self._pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        self._services = services

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register it. The messages of v1 are those of v1alpha under another name."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._info,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for name in REFLECTION_SERVICES:
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
            )

    async def _info(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: _Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        names = (*sorted(self._services()), HEALTH_SERVICE, *REFLECTION_SERVICES)
        servicer = ReflectionServicer(service_names=names, pool=self._pool)
        # An asynchronous generator, though its stub says otherwise.
        responses = cast(
            "AsyncIterator[reflection_pb2.ServerReflectionResponse]", servicer.ServerReflectionInfo(requests, context)
        )
        async for response in responses:
            yield response


class MeshHealth:
    """grpc.health.v1 for the mesh: a service is SERVING while a live engine takes its calls; "" while the gateway runs.

    It tells what the registry knows, not whether Envoy or the router work: `/healthz` at the public listener does.
    """

    def __init__(self) -> None:
        self._servicer = HealthServicer()
        self._known: dict[str, bool] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register it."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def update(self, serving: Iterable[str]) -> None:
        """Set the services that have live engines."""
        now = dict.fromkeys(self._known, False) | dict.fromkeys(serving, True)
        for service, alive in now.items():
            if self._known.get(service) != alive:
                status = health_pb2.HealthCheckResponse
                await self._servicer.set(service, status.SERVING if alive else status.NOT_SERVING)
        self._known = now

"""Administrative calls as Envoy makes them: a check, which returns the grant, then the method with the grant."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

import enginehouse.api.router.v1 as contracts
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import ServiceError, from_rpc_error
from enginehouse.kit.grants import sign
from enginehouse.router.clock import wall_clock
from enginehouse.router.ids import new_id
from router.tests.harness.responses import error_of
from router.tests.harness.router_process import RouterProcess

PACKAGE = "enginehouse.api.router.v1"


class Refused(Exception):
    """A refused call; its text is the reason."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.reason.value)
        self.error = error


def methods() -> dict[str, MethodDescriptor]:
    """Every administrative method, as "Service/Method", with its descriptor."""
    found: dict[str, MethodDescriptor] = {}
    for module in pkgutil.iter_modules(contracts.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"{PACKAGE}.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                if service.name not in ("UsageService", "AnswerService"):
                    found |= {f"{service.name}/{method.name}": method for method in service.methods}
    return found


def stub_of(channel: grpc.aio.Channel, method: str) -> Any:
    """The stub's call of a method of any administrative service."""
    service, _, name = method.partition("/")
    for module in pkgutil.iter_modules(contracts.__path__):
        if module.name.endswith("_pb2_grpc"):
            made = getattr(importlib.import_module(f"{PACKAGE}.{module.name}"), f"{service}Stub", None)
            if made is not None:
                return getattr(made(channel), name)
    raise AssertionError(method)


async def call(router: RouterProcess, credential: str, method: str, request: Message, **headers: str) -> Any:
    """Call "Service/Method" with a key or token, as Envoy does. Raises Refused."""
    path = f"/{PACKAGE}.{method}"
    checked = await router.check(path, request, credential, **headers)
    if checked.status_code != 200:
        raise Refused(error_of(checked))
    return await granted(router, checked.headers["x-enginehouse-grant"], method, request)


async def granted(router: RouterProcess, grant: str, method: str, request: Message) -> Any:
    """Call a method with a grant. Raises Refused."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{router.grpc}") as channel:
        try:
            answer = stub_of(channel, method)(request, metadata=(("x-enginehouse-grant", grant),))
            return [part async for part in answer] if hasattr(answer, "__aiter__") else await answer
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error)
            assert found is not None, error.details()
            raise Refused(found) from None


def grant_for(router: RouterProcess, method: str, *, scopes: Sequence[str]) -> str:
    """A grant as the router would sign it if its first key had these scopes."""
    now = wall_clock()
    grant = grant_pb2.Grant(
        grant_id=new_id("grn"),
        request_id=new_id("req"),
        attempt=1,
        method=f"/{PACKAGE}.{method}",
        principal=grant_pb2.Principal(tenant_id=router.tenant, key_id=router.key_id, scopes=scopes),
        issued_at_ms=now,
        accept_by_ms=now + 60_000,
        expires_at_ms=now + 60_000,
    )
    return sign(grant, keys=router.grant_keys)


async def refusal_of(
    router: RouterProcess, credential: str, method: str, request: Message, **headers: str
) -> ServiceError:
    """Call "Service/Method", which must be refused, and return the error."""
    try:
        await call(router, credential, method, request, **headers)
    except Refused as refused:
        return refused.error
    raise AssertionError(f"{method} was not refused")

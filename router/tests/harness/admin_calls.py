"""Administrative calls as Envoy makes them: a check for the grant, then the method with it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

import grpc

import enginehouse.api.router.v1 as contracts
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.errors import from_rpc_error
from enginehouse.kit.grants import sign
from enginehouse.router.clock import wall_clock
from enginehouse.router.ids import new_id

PACKAGE = "enginehouse.api.router.v1"


class Refused(Exception):
    """The call's reason."""


def methods() -> dict[str, Any]:
    """Every administrative method, as "Service/Method", with its descriptor."""
    found = {}
    for module in pkgutil.iter_modules(contracts.__path__):
        if module.name.endswith("_pb2"):
            descriptor = importlib.import_module(f"{PACKAGE}.{module.name}").DESCRIPTOR
            for service in descriptor.services_by_name.values():
                if service.name not in ("UsageService", "AnswerService"):
                    found |= {f"{service.name}/{method.name}": method for method in service.methods}
    return found


def stub_of(channel: grpc.aio.Channel, method: str) -> Any:
    """The call of a method of any administrative service."""
    service, _, name = method.partition("/")
    for module in pkgutil.iter_modules(contracts.__path__):
        if module.name.endswith("_pb2_grpc"):
            made = getattr(importlib.import_module(f"{PACKAGE}.{module.name}"), f"{service}Stub", None)
            if made is not None:
                return getattr(made(channel), name)
    raise AssertionError(method)


async def call(router: Any, credential: str, method: str, request: Any, **headers: str) -> Any:
    """Calls "Service/Method" with a key or token. Raises Refused."""
    path = f"/{PACKAGE}.{method}"
    checked = await router.check(path, request, credential, **headers)
    if checked.status_code != 200:
        raise Refused(checked.json()["details"][0]["reason"])
    return await granted(router, checked.headers["x-enginehouse-grant"], method, request)


async def granted(router: Any, grant: str, method: str, request: Any) -> Any:
    """Calls a method with a grant. Raises Refused."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{router.grpc}") as channel:
        try:
            answer = stub_of(channel, method)(request, metadata=(("x-enginehouse-grant", grant),))
            return [one async for one in answer] if hasattr(answer, "__aiter__") else await answer
        except grpc.aio.AioRpcError as error:
            raise Refused(from_rpc_error(error).reason.value) from None


def grant_for(router: Any, method: str, *, scopes: Sequence[str]) -> str:
    """A grant as the router would sign it, had its first key these scopes."""
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

"""Cached completions, over a real connection."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2

from clients.python.tests.harness.behaviours import refuse
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.client import PermissionDenied


async def test_a_completion_is_cached_and_returned(server: ScriptedServer, connect: Connect) -> None:
    def complete(request: Any, context: grpc.ServicerContext) -> Any:
        context.send_initial_metadata((("x-enginehouse-cache", "miss"),))
        yield httpbody_pb2.HttpBody(data=b'{"choices"')
        yield httpbody_pb2.HttpBody(data=b":[]}")

    server.script = [complete]
    mesh = connect(server.url, user_id="anna", max_cost_nanos=7)
    answer = await mesh.call("cache.create_chat_completion", b"{}", headers=(("x-enginehouse-cache-tags", "a"),))
    assert answer == ("miss", b'{"choices":[]}')
    assert (server.requests[0].content_type, server.requests[0].data) == ("application/json", b"{}")
    metadata = server.metadata[0]
    assert (metadata["x-enginehouse-cache"], metadata["x-enginehouse-cache-tags"]) == ("use", "a")
    # The completion is billed, so it counts for the client's user and within its cost limit.
    assert (metadata["x-enginehouse-user-id"], metadata["x-enginehouse-max-cost-nanos"]) == ("anna", "7")


async def test_a_refusal_has_the_request_id(server: ScriptedServer, connect: Connect) -> None:
    server.script = [refuse(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_DENIED")]
    with pytest.raises(PermissionDenied) as failed:
        await connect(server.url).call("cache.create_chat_completion", b"{}")
    assert failed.value.request_id == server.metadata[0]["x-enginehouse-request-id"]

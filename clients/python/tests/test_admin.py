"""Administration over a real connection."""

from __future__ import annotations

from typing import Any

import pytest

from clients.python.tests.harness.behaviours import respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.router.v1 import admin_pb2


async def test_a_budget_of_zero_is_not_no_budget(server: ScriptedServer, connect: Connect) -> None:
    made = admin_pb2.CreateKeyResponse(secret="eh_x", key={"key_id": "key_1"})
    server.script = [respond(made), respond(made)]
    mesh = connect(server.url)
    assert (await mesh.call("admin.create_key", "a", budget_nanos=0)).secret == "eh_x"
    await mesh.call("admin.create_key", "a")
    assert [request.HasField("budget_nanos") for request in server.requests] == [True, False]


async def test_lists_come_page_by_page(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(admin_pb2.ListKeysResponse(keys=[{"key_id": "a"}, {"key_id": "b"}], next_page_token="2")),
        respond(admin_pb2.ListKeysResponse(keys=[{"key_id": "c"}])),
    ]
    assert [key.key_id for key in await connect(server.url).call("admin.list_keys")] == ["a", "b", "c"]
    assert [request.page_token for request in server.requests] == ["", "2"]


async def test_words_are_sent_as_enumerations(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(admin_pb2.SetBudgetResponse(budget={"budget_id": "bud_1"})),
        respond(admin_pb2.QuerySpendResponse(total_nanos=5)),
    ]
    mesh = connect(server.url)
    budget = await mesh.call("admin.set_budget", scope="key", scope_id="key_1", limit_nanos=9, window="day")
    assert budget.budget_id == "bud_1"
    assert server.requests[0].scope == admin_pb2.BUDGET_SCOPE_KEY
    assert server.requests[0].window == admin_pb2.BUDGET_WINDOW_DAY
    assert (await mesh.call("admin.spend", key_id="key_1", group_by="model")).total_nanos == 5
    assert server.requests[1].group_by == admin_pb2.SPEND_GROUP_MODEL


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (
            "set_budget",
            {"scope": "planet", "scope_id": "x", "limit_nanos": 1},
            "unknown scope 'planet': expected one of",
        ),
        (
            "set_budget",
            {"scope": "key", "scope_id": "x", "limit_nanos": 1, "window": "age"},
            "unknown window 'age': expected",
        ),
        ("spend", {"group_by": "mood"}, "unknown group_by 'mood': expected one of"),
    ],
)
async def test_unknown_words_are_refused_before_sending(
    server: ScriptedServer, connect: Connect, method: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await connect(server.url).call(f"admin.{method}", **arguments)
    assert server.requests == []

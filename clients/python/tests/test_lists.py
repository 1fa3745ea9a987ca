"""Lists, which every part of the client fetches page by page."""

from __future__ import annotations

from typing import Any

import pytest

from clients.python.tests.harness.behaviours import respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import (
    admin_pb2,
    alerts_pb2,
    cache_pb2,
    experiments_pb2,
    flags_pb2,
    identity_pb2,
    policy_pb2,
    prices_pb2,
    rollouts_pb2,
)
from enginehouse.api.voice.v1 import voice_pb2

LISTS = [
    ("admin.list_budgets", admin_pb2.ListBudgetsResponse, "budgets"),
    ("admin.list_keys", admin_pb2.ListKeysResponse, "keys"),
    ("admin.list_models", admin_pb2.ListModelsResponse, "models"),
    ("admin.list_tenants", admin_pb2.ListTenantsResponse, "tenants"),
    ("billing.list_alerts", alerts_pb2.ListAlertsResponse, "alerts"),
    ("billing.list_discounts", prices_pb2.ListDiscountsResponse, "discounts"),
    ("billing.list_prices", prices_pb2.ListPricesResponse, "prices"),
    ("cache.list_policies", cache_pb2.ListCachePoliciesResponse, "policies"),
    ("experiments.list_experiments", experiments_pb2.ListExperimentsResponse, "experiments"),
    ("experiments.list_flags", flags_pb2.ListFlagsResponse, "flags"),
    ("experiments.list_rollouts", rollouts_pb2.ListRolloutsResponse, "rollouts"),
    ("identity.audit", identity_pb2.ListAuditResponse, "entries"),
    ("identity.list_users", identity_pb2.ListUsersResponse, "users"),
    ("models", generation_pb2.ListModelsResponse, "models"),
    ("policies.list", policy_pb2.ListPoliciesResponse, "policies"),
    ("voices", voice_pb2.ListVoicesResponse, "voices"),
]


@pytest.mark.parametrize(("method", "response", "field"), LISTS, ids=[method for method, _, _ in LISTS])
async def test_a_list_joins_all_its_pages(
    server: ScriptedServer, connect: Connect, method: str, response: type[Any], field: str
) -> None:
    server.script = [respond(response(**{field: [{}, {}]}, next_page_token="2")), respond(response(**{field: [{}]}))]
    assert len(await connect(server.url).call(method)) == 3
    assert [request.page_token for request in server.requests] == ["", "2"]

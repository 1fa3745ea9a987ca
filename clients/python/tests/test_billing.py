"""Prices, discounts, alerts and exported spend over a real connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2

from clients.python.tests.harness.behaviours import refuse, respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.responses import story
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import admin_pb2, alerts_pb2, prices_pb2
from enginehouse.client import EnginehouseError, PermissionDenied


async def test_prices_and_discounts_are_sent(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(prices_pb2.SetPriceResponse(price={"price_id": "prc_1"})),
        respond(prices_pb2.SetPriceResponse(price={"price_id": "prc_2"})),
        respond(prices_pb2.DeletePriceResponse(price={"price_id": "prc_2"})),
        respond(prices_pb2.SetDiscountResponse(discount={"discount_id": "dis_1"})),
        respond(prices_pb2.DeleteDiscountResponse(discount={"discount_id": "dis_1"})),
    ]
    mesh = connect(server.url)
    assert (await mesh.call("billing.set_price", "tiny", "images", 0, from_ms=7)).price_id == "prc_1"
    assert (await mesh.call("billing.set_price", "tiny", "images", None)).price_id == "prc_2"
    assert (await mesh.call("billing.delete_price", "prc_2")).price_id == "prc_2"
    assert (await mesh.call("billing.set_discount", "tier", "pro", 5, model="tiny")).discount_id == "dis_1"
    assert (await mesh.call("billing.delete_discount", "dis_1")).discount_id == "dis_1"
    free, reset, _, discount, _ = server.requests
    # A price of 0 is not the catalog's price.
    assert (free.HasField("nanos_per_million"), reset.HasField("nanos_per_million")) == (True, False)
    assert (free.unit, free.from_ms) == (usage_pb2.UNIT_IMAGES, 7)
    assert (discount.subject, discount.subject_id, discount.basis_points) == (
        prices_pb2.DISCOUNT_SUBJECT_TIER,
        "pro",
        5,
    )
    for method, arguments, message in (
        ("set_price", ("tiny", "Apples", 1), "invalid unit 'Apples': expected one of"),
        ("set_discount", ("planet", "x", 1), "unknown subject 'planet': expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            await mesh.call(f"billing.{method}", *arguments)
    assert len(server.requests) == 5


async def test_lists_come_page_by_page(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(prices_pb2.ListPricesResponse(prices=[{"price_id": "a"}], next_page_token="2")),
        respond(prices_pb2.ListPricesResponse(prices=[{"price_id": "b"}])),
        respond(prices_pb2.ListDiscountsResponse(discounts=[{"discount_id": "c"}])),
        respond(alerts_pb2.ListAlertsResponse(alerts=[{"alert_id": "d"}])),
    ]
    mesh = connect(server.url)
    assert [price.price_id for price in await mesh.call("billing.list_prices")] == ["a", "b"]
    assert [discount.discount_id for discount in await mesh.call("billing.list_discounts")] == ["c"]
    assert [alert.alert_id for alert in await mesh.call("billing.list_alerts", budget_id="bud_1")] == ["d"]
    assert [request.page_token for request in server.requests] == ["", "2", "", ""]


async def test_spend_joins_the_rows_of_all_pages(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        respond(
            admin_pb2.QuerySpendResponse(rows=[{"group": "a"}, {"group": "b"}], total_nanos=9, next_page_token="2")
        ),
        respond(admin_pb2.QuerySpendResponse(rows=[{"group": "c"}], total_nanos=9)),
    ]
    spend = await connect(server.url).call("admin.spend", group_by="run", user_id="anna")
    assert ([row.group for row in spend.rows], spend.total_nanos) == (["a", "b", "c"], 9)
    assert [(request.group_by, request.user_id, request.page_token) for request in server.requests] == [
        (admin_pb2.SPEND_GROUP_RUN, "anna", ""), (admin_pb2.SPEND_GROUP_RUN, "anna", "2")
    ]  # fmt: skip


async def test_exported_spend_is_streamed_and_may_end_with_an_error(server: ScriptedServer, connect: Connect) -> None:
    def cut(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield httpbody_pb2.HttpBody(data=b"half")
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server.script = [
        respond(httpbody_pb2.HttpBody(data=b"a\r\n"), httpbody_pb2.HttpBody(data=b"1\r\n")),
        cut,
        refuse(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_DENIED"),
    ]
    mesh = connect(server.url)
    assert await mesh.call("billing.export_spend", run_id="r") == [b"a\r\n", b"1\r\n"]
    assert server.requests[0].run_id == "r"
    with pytest.raises(EnginehouseError):
        await mesh.call("billing.export_spend")
    with pytest.raises(PermissionDenied):
        await mesh.call("billing.export_spend")


async def test_calls_carry_the_user_the_run_and_the_cost_limit(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*story())] * 2
    await connect(server.url, user_id="anna", run_id="r/1", max_cost_nanos=0).generate("hello")
    await connect(server.url).generate("hello")
    names = ("x-enginehouse-user-id", "x-enginehouse-run-id", "x-enginehouse-max-cost-nanos")
    assert [[metadata.get(name) for name in names] for metadata in server.metadata] == [
        ["anna", "r/1", "0"],
        [None] * 3,
    ]
    for invalid in ({"user_id": "a b"}, {"run_id": "é"}, {"run_id": "x" * 129}, {"max_cost_nanos": -1}):
        with pytest.raises(ValueError, match=next(iter(invalid))):
            connect(server.url, **invalid)

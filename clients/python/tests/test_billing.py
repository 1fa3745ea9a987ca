"""Prices, discounts, alerts and exported spend over a real connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2

from enginehouse.api.router.v1 import admin_pb2, alerts_pb2, prices_pb2
from enginehouse.client import EnginehouseError, PermissionDenied


async def call(face: Any, method: str, *args: Any, **options: Any) -> Any:
    """Calls a method of `billing` of either client; lists come whole."""
    found = getattr(face.client.billing, method)(*args, **options)
    if isinstance(found, AsyncIterator):
        return [one async for one in found]
    if isinstance(found, Iterator):
        return list(found)
    return await found if hasattr(found, "__await__") else found


async def test_prices_and_discounts_are_sent_as_the_contract_has_them(
    server: Any, connect: Any, behaviours: Any
) -> None:
    server.behaviours = [
        behaviours.answering(prices_pb2.SetPriceResponse(price={"price_id": "prc_1"})),
        behaviours.answering(prices_pb2.SetPriceResponse(price={"price_id": "prc_2"})),
        behaviours.answering(prices_pb2.DeletePriceResponse(price={"price_id": "prc_2"})),
        behaviours.answering(prices_pb2.SetDiscountResponse(discount={"discount_id": "dis_1"})),
        behaviours.answering(prices_pb2.DeleteDiscountResponse(discount={"discount_id": "dis_1"})),
    ]
    mesh = connect(server.url)
    assert (await call(mesh, "set_price", "tiny", "images", 0, from_ms=7)).price_id == "prc_1"
    assert (await call(mesh, "set_price", "tiny", "images", None)).price_id == "prc_2"
    assert (await call(mesh, "delete_price", "prc_2")).price_id == "prc_2"
    assert (await call(mesh, "set_discount", "tier", "pro", 5, model="tiny")).discount_id == "dis_1"
    assert (await call(mesh, "delete_discount", "dis_1")).discount_id == "dis_1"
    free, back, _, cut, _ = server.requests
    # Free is not the same as the catalog's price.
    assert (free.HasField("nanos_per_million"), back.HasField("nanos_per_million")) == (True, False)
    assert (free.unit, free.from_ms) == (6, 7)
    assert (cut.subject, cut.subject_id, cut.basis_points) == (prices_pb2.DISCOUNT_SUBJECT_TIER, "pro", 5)
    for method, arguments, problem in (
        ("set_price", ("tiny", "apples", 1), "unknown unit 'apples': expected one of"),
        ("set_discount", ("planet", "x", 1), "unknown subject 'planet': expected one of"),
    ):
        with pytest.raises(ValueError, match=problem):
            await call(mesh, method, *arguments)
    assert len(server.requests) == 5


async def test_lists_come_page_by_page(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [
        behaviours.answering(prices_pb2.ListPricesResponse(prices=[{"price_id": "a"}], next_page_token="2")),
        behaviours.answering(prices_pb2.ListPricesResponse(prices=[{"price_id": "b"}])),
        behaviours.answering(prices_pb2.ListDiscountsResponse(discounts=[{"discount_id": "c"}])),
        behaviours.answering(alerts_pb2.ListAlertsResponse(alerts=[{"alert_id": "d"}])),
    ]
    mesh = connect(server.url)
    assert [one.price_id for one in await call(mesh, "list_prices")] == ["a", "b"]
    assert [one.discount_id for one in await call(mesh, "list_discounts")] == ["c"]
    assert [one.alert_id for one in await call(mesh, "list_alerts", budget_id="bud_1")] == ["d"]
    assert [getattr(one, "page_token", "") for one in server.requests] == ["", "2", "", ""]


async def test_groups_of_spend_come_from_every_page_with_one_total(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [
        behaviours.answering(
            admin_pb2.QuerySpendResponse(rows=[{"group": "a"}, {"group": "b"}], total_nanos=9, next_page_token="2")
        ),
        behaviours.answering(admin_pb2.QuerySpendResponse(rows=[{"group": "c"}], total_nanos=9)),
    ]
    found = await connect(server.url).admin("spend", group_by="run", user_id="anna")
    assert ([row.group for row in found.rows], found.total_nanos) == (["a", "b", "c"], 9)
    assert [(one.group_by, one.user_id, one.page_token) for one in server.requests] == [
        (admin_pb2.SPEND_GROUP_RUN, "anna", ""), (admin_pb2.SPEND_GROUP_RUN, "anna", "2")
    ]  # fmt: skip


async def test_exported_spend_comes_piece_by_piece_and_its_end_may_be_an_error(
    server: Any, connect: Any, behaviours: Any
) -> None:
    def cut_off(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield httpbody_pb2.HttpBody(data=b"half")
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    server.behaviours = [
        behaviours.answering(httpbody_pb2.HttpBody(data=b"a\r\n"), httpbody_pb2.HttpBody(data=b"1\r\n")),
        cut_off,
        behaviours.refusing(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_DENIED"),
    ]
    mesh = connect(server.url)
    assert await call(mesh, "export_spend", run_id="r") == [b"a\r\n", b"1\r\n"]
    assert server.requests[0].run_id == "r"
    with pytest.raises(EnginehouseError):
        await call(mesh, "export_spend")
    with pytest.raises(PermissionDenied):
        await call(mesh, "export_spend")


async def test_calls_say_for_whom_and_for_how_much(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [behaviours.answering(*behaviours.story())] * 2
    await connect(server.url, user_id="anna", run_id="r/1", max_cost_nanos=0).generate("hello")
    await connect(server.url).generate("hello")
    names = ("x-enginehouse-user-id", "x-enginehouse-run-id", "x-enginehouse-max-cost-nanos")
    assert [[one.get(name) for name in names] for one in server.metadata] == [["anna", "r/1", "0"], [None] * 3]
    for bad in ({"user_id": "a b"}, {"run_id": "é"}, {"run_id": "x" * 129}, {"max_cost_nanos": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            connect(server.url, **bad)

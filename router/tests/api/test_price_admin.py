"""The price book as it is administered: what is refused, what is written, and that the past stays as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import prices_pb2 as pb
from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import UNITS
from enginehouse.router.api.admin import Administrator, PriceAdmin
from enginehouse.router.database import Listener
from enginehouse.router.identity import KeyStore, Tenant
from enginehouse.router.prices import PRICES_CHANNEL, PriceBook, PriceRefresher, PriceStore
from router.tests.harness.waiting import wait_until

ADMIN = Administrator(tenant_id="ten_test", key_id="key_admin", everything=True)
READ, IMAGES = usage_pb2.UNIT_INPUT_TOKENS, usage_pb2.UNIT_IMAGES
NOW = 1_800_000_000_000


class Tiers:
    """The part of a policy that knows the tiers' names."""

    tiers = ("free", "pro")


class PriceHarness:
    """Administration of prices over a database, with a clock."""

    def __init__(self, database: AsyncEngine, catalog: Catalog) -> None:
        self.now_ms = NOW
        self.database = database
        self.catalog = catalog
        self.store = PriceStore(database=database)
        self.book, self.refresher = self.replica()
        self.admin = PriceAdmin(
            store=self.store,
            refresher=self.refresher,
            keys=KeyStore(database=database),
            policy=Tiers(),  # type: ignore[arg-type]
            catalog=catalog,
            clock=self.clock,
        )

    def clock(self) -> int:
        return self.now_ms

    def replica(self) -> tuple[PriceBook, PriceRefresher]:
        book = PriceBook(catalog=self.catalog)
        return book, PriceRefresher(store=self.store, book=book, clock=self.clock)

    async def set(self, amount: int | None, from_ms: int = 0, *, unit: Any = READ, model: str = "small") -> pb.Price:
        request = pb.SetPriceRequest(model=model, unit=unit, nanos_per_million=amount, from_ms=from_ms)
        return (await self.admin.set_price(request, ADMIN)).price

    async def cut(self, amount: int | None, from_ms: int = 0, **fields: Any) -> pb.Discount:
        fields = {"subject": pb.DISCOUNT_SUBJECT_TIER, "subject_id": "pro", **fields}
        request = pb.SetDiscountRequest(basis_points=amount, from_ms=from_ms, **fields)
        return (await self.admin.set_discount(request, ADMIN)).discount

    async def prices(self, **fields: Any) -> list[tuple[int, int | None, bool]]:
        """Of the prompt's tokens of `small`: from when, how much, and whether it holds."""
        found = await self.admin.list_prices(pb.ListPricesRequest(model="small", **fields))
        return [
            (price.from_ms, price.nanos_per_million if price.HasField("nanos_per_million") else None, price.holds)
            for price in found.prices
            if price.unit == READ
        ]

    async def rows(self) -> int:
        async with self.database.connect() as connection:
            found = await connection.execute(
                sa.text("SELECT (SELECT count(*) FROM prices) + (SELECT count(*) FROM discounts)")
            )
            return int(found.scalar_one())


CATALOG = """
models:
  - {name: small, cluster: inference, backend: x, source: "bundled:x", capabilities: [chat],
     prices: {input_tokens: 50, output_tokens: 200}}
  - {name: painter, cluster: image, backend: x, source: "bundled:x", capabilities: [image], prices: {images: 9}}
"""


@pytest.fixture
async def harness(database: AsyncEngine, tmp_path: Path) -> PriceHarness:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    await KeyStore(database=database).insert_tenant(Tenant(tenant_id="ten_test", name="t", tier="pro", created_at_ms=1))
    return PriceHarness(database, load_catalog(tmp_path / "catalog.yaml"))


async def refused(step: Any) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        await step
    return error.value


async def test_a_price_holds_from_its_start_until_the_next_and_the_past_stays(harness: PriceHarness) -> None:
    await harness.set(70)
    await harness.set(90, NOW + 5_000)
    assert await harness.prices() == [(0, 50, False), (NOW, 70, True), (NOW + 5_000, 90, False)]
    harness.now_ms = NOW + 6_000
    await harness.set(None)
    assert await harness.prices() == [
        (0, 50, True), (NOW, 70, False), (NOW + 5_000, 90, False), (NOW + 6_000, None, False)
    ]  # fmt: skip
    assert await harness.prices(holding_only=True) == [(0, 50, True)]
    assert harness.book.listed(harness.catalog.models[1])[READ] == 50


async def test_a_unit_that_only_has_a_name_is_priced_like_any_other(database: AsyncEngine) -> None:
    model = CatalogModel(
        name="small", cluster="render", backend="x", source="bundled:x", context_tokens=0, max_output_tokens=0,
        capabilities=frozenset(), quality=0.0, prices={READ: 50, "frames": 7}, options={},
    )  # fmt: skip
    harness = PriceHarness(database, Catalog([model]))
    request = pb.SetPriceRequest(model="small", unit_name="frames", nanos_per_million=9)
    assert (await harness.admin.set_price(request, ADMIN)).price.unit_name == "frames"
    listed = (await harness.admin.list_prices(pb.ListPricesRequest())).prices
    assert [(price.unit, price.unit_name, price.nanos_per_million, price.holds) for price in listed] == [
        (READ, "", 50, True), (0, "frames", 7, False), (0, "frames", 9, True)
    ]  # fmt: skip
    assert harness.book.listed(model)["frames"] == 9


BAD_PRICES = [
    ({"model": "smal"}, "model", "did you mean 'small'?"),
    ({"unit": 0}, "unit", "0 is not a unit; one of input_tokens"),
    ({"unit": 99}, "unit", "99 is not a unit"),
    ({"unit_name": "frames"}, "unit_name", "is set beside unit"),
    ({"unit": 0, "unit_name": "frames"}, "unit_name", "'frames' has no price at the model in the catalog"),
    ({"nanos_per_million": -1}, "nanos_per_million", "-1 must be from 0 to 9223372036854"),
    ({"nanos_per_million": 9_223_372_036_855}, "nanos_per_million", "9223372036855 must be from 0 to"),
    ({"nanos_per_million": 2**63 - 1}, "nanos_per_million", "must be from 0 to"),
    ({"from_ms": NOW}, "from_ms", f"{NOW} is not in the future"),
    ({"from_ms": NOW - 1}, "from_ms", "is not in the future"),
    ({"from_ms": -5}, "from_ms", "-5 is not in the future"),
    ({"from_ms": 2**53 + 1}, "from_ms", "is not in the future"),
]


async def test_a_bad_price_is_refused_by_name_and_nothing_is_written(harness: PriceHarness) -> None:
    for fields, field, says in BAD_PRICES:
        request = pb.SetPriceRequest(**{"model": "small", "unit": READ, "nanos_per_million": 5, **fields})
        error = await refused(harness.admin.set_price(request, ADMIN))
        assert error.reason is Reason.INVALID_REQUEST, fields
        assert [violation.field for violation in error.violations] == [field], fields
        assert says in error.violations[0].description
    assert await harness.rows() == 0


BAD_DISCOUNTS = [
    ({"basis_points": 10_001}, Reason.INVALID_REQUEST, "10001 must be from 0 to 10000"),
    ({"basis_points": -1}, Reason.INVALID_REQUEST, "-1 must be from 0 to 10000"),
    ({"subject": 0}, Reason.INVALID_REQUEST, "0 must be KEY, TENANT or TIER"),
    ({"subject_id": ""}, Reason.INVALID_REQUEST, "subject_id"),
    ({"model": "paint"}, Reason.INVALID_REQUEST, "did you mean 'painter'?"),
    ({"from_ms": NOW - 1}, Reason.INVALID_REQUEST, "is not in the future"),
    ({"subject_id": "gold"}, Reason.NOT_FOUND, "no tier 'gold'; there are free, pro"),
    ({"subject": 1, "subject_id": "key_x"}, Reason.NOT_FOUND, "no key 'key_x'"),
    ({"subject": 2, "subject_id": "ten_x"}, Reason.NOT_FOUND, "no tenant 'ten_x'"),
]


async def test_a_bad_discount_is_refused_and_nothing_is_written(harness: PriceHarness) -> None:
    good = {"subject": pb.DISCOUNT_SUBJECT_TIER, "subject_id": "pro", "basis_points": 5}
    for fields, reason, says in BAD_DISCOUNTS:
        error = await refused(harness.admin.set_discount(pb.SetDiscountRequest(**{**good, **fields}), ADMIN))
        assert error.reason is reason, fields
        assert says in error.message + str(error.violations)
    assert await harness.rows() == 0


async def test_two_prices_cannot_begin_at_one_moment_but_one_can_be_sent_twice(harness: PriceHarness) -> None:
    first = await harness.set(70, NOW + 5_000)
    assert await harness.set(70, NOW + 5_000) == first
    error = await refused(harness.set(71, NOW + 5_000))
    assert error.reason is Reason.ALREADY_EXISTS
    assert error.metadata["existing"] == first.price_id
    assert "(70) begins at" in error.message
    cut = await harness.cut(10, NOW + 5_000)
    assert await harness.cut(10, NOW + 5_000) == cut
    assert (await refused(harness.cut(11, NOW + 5_000))).reason is Reason.ALREADY_EXISTS
    assert await harness.rows() == 2


async def test_setting_what_holds_already_changes_nothing(harness: PriceHarness) -> None:
    """So a retry after a lost answer leaves one price, though "now" is later then."""
    first = await harness.set(70)
    harness.now_ms += 400
    assert (await harness.set(70)).price_id == first.price_id
    cut = await harness.cut(100)
    harness.now_ms += 400
    assert (await harness.cut(100)).discount_id == cut.discount_id
    assert await harness.rows() == 2


async def test_racing_callers_leave_one_price_for_a_moment(harness: PriceHarness) -> None:
    steps = [harness.set(amount, NOW + 1_000) for amount in (5, 6, 7, 8)]
    done = await asyncio.gather(*steps, return_exceptions=True)
    assert sum(isinstance(result, pb.Price) for result in done) == 1
    assert await harness.rows() == 1


async def test_a_price_that_has_begun_cannot_be_deleted(harness: PriceHarness) -> None:
    begun, coming = await harness.set(70), await harness.set(90, NOW + 5_000)
    error = await refused(harness.admin.delete_price(pb.DeletePriceRequest(price_id=begun.price_id)))
    assert error.reason is Reason.FAILED_PRECONDITION
    await harness.admin.delete_price(pb.DeletePriceRequest(price_id=coming.price_id))
    error = await refused(harness.admin.delete_price(pb.DeletePriceRequest(price_id=coming.price_id)))
    assert error.reason is Reason.NOT_FOUND
    cut, later = await harness.cut(10), await harness.cut(20, NOW + 1)
    error = await refused(harness.admin.delete_discount(pb.DeleteDiscountRequest(discount_id=cut.discount_id)))
    assert error.reason is Reason.FAILED_PRECONDITION
    await harness.admin.delete_discount(pb.DeleteDiscountRequest(discount_id=later.discount_id))
    assert await harness.rows() == 2
    harness.now_ms = NOW + 10_000
    assert await harness.prices(holding_only=True) == [(NOW, 70, True)]


async def test_lists_come_in_pages_without_a_gap_or_a_repetition(harness: PriceHarness) -> None:
    for number in range(5):
        await harness.set(number, NOW + 1 + number, model="painter", unit=IMAGES)
        await harness.cut(number, NOW + 1 + number)
    seen: list[str] = []
    token = ""
    while True:
        page = await harness.admin.list_prices(pb.ListPricesRequest(page_size=2, page_token=token))
        seen += [f"{price.model}/{price.unit}/{price.from_ms}" for price in page.prices]
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 3 + 5
    assert seen == sorted(seen, key=lambda one: (one.split("/")[0], int(one.split("/")[1]), int(one.split("/")[2])))
    found: list[str] = []
    while True:
        cuts = await harness.admin.list_discounts(pb.ListDiscountsRequest(page_size=2, page_token=token))
        found += [discount.discount_id for discount in cuts.discounts]
        token = cuts.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) == 5
    foreign = pb.ListPricesRequest(page_token=page.next_page_token or "x", model="small")
    assert (await refused(harness.admin.list_prices(foreign))).reason is Reason.INVALID_REQUEST


async def test_every_replica_applies_a_new_price(harness: PriceHarness) -> None:
    book, refresher = harness.replica()
    loaded = asyncio.Event()

    async def reload() -> None:
        await refresher.reload()
        loaded.set()

    listener = Listener(database=harness.database, handlers={PRICES_CHANNEL: refresher.changed}, on_connect=reload)
    listener.start()
    small = harness.catalog.get("small")
    assert small is not None
    await asyncio.wait_for(loaded.wait(), 60)
    await harness.set(123)

    async def heard() -> int:
        return book.listed(small)[UNITS["input_tokens"]]

    await wait_until(heard, 123, within_s=60)
    await listener.close()
    await refresher.close()

"""Budgets say how far they are spent: once for each window and percentage, to everybody who is to hear it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from enginehouse.api.router.v1 import alerts_pb2 as pb
from enginehouse.kit.config import ConfigError
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.testing import ReservedPort
from enginehouse.router.alerts import Alert, AlertSettings, AlertStore, ExhaustionRecorder, WebhookDispatcher
from enginehouse.router.api.admin import Administrator, AlertAdmin
from enginehouse.router.clock import DAY_MS
from enginehouse.router.ledger import Budget, BudgetStore, InsufficientBudget, Ledger, Period
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.waiting import wait_until
from router.tests.harness.webhook import Webhook


async def spend(harness: LedgerHarness, ledger: Ledger, cost: int, *, cap: int = 0) -> None:
    token = await harness.grant(ledger, cap or cost)
    await ledger.settle_now([harness.report(token, cost)])


async def alerts(harness: LedgerHarness, budget: Budget) -> list[tuple[int, int, int, int, str]]:
    """(window, percent, limit, settled, cause), in the order in which they were raised."""
    rows = await harness.rows(
        "SELECT window_start_ms, percent, limit_nanos, settled_nanos, cause FROM budget_alerts"
        f" WHERE budget_id = '{budget.budget_id}' ORDER BY ordinal"
    )
    return [tuple(row) for row in rows]


async def test_each_percentage_is_raised_once_as_spend_reaches_it(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await spend(harness, ledger, 499)
    assert await alerts(harness, budget) == []
    await spend(harness, ledger, 1)
    assert await alerts(harness, budget) == [(0, 50, 1_000, 500, "spend")]
    await spend(harness, ledger, 100)
    await spend(harness, ledger, 400)
    assert [alert[1] for alert in await alerts(harness, budget)] == [50, 80, 100]
    assert (await alerts(harness, budget))[2] == (0, 100, 1_000, 1_000, "spend")


async def test_replicas_that_settle_at_once_raise_each_alert_once(harness: LedgerHarness) -> None:
    budget = await harness.budget(2_000)
    replicas = [await harness.replica() for _ in range(4)]
    tokens = [await harness.grant(replicas[number % 4], 50) for number in range(36)]

    async def settle(number: int, token: str) -> None:
        # Each report twice, at two replicas.
        for ledger in (replicas[number % 4], replicas[(number + 1) % 4]):
            await ledger.settle_now([harness.report(token, 50)])

    await asyncio.gather(*[settle(number, token) for number, token in enumerate(tokens)])
    assert sorted(alert[1] for alert in await alerts(harness, budget)) == [50, 80]


async def test_an_assumption_that_is_taken_back_raises_nothing_a_second_time(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 600)
    await ledger.flush_journal()
    harness.now_ms += 600_000
    # An engine that may have run it has not spoken, so its cap is billed until it does.
    await harness.watermark(ledger, 1)
    await ledger.sweep()
    assert [alert[1:] for alert in await alerts(harness, budget)] == [(50, 1_000, 600, "spend")]
    await ledger.settle_now([harness.report(token, 10)])
    assert (await harness.window(budget))[1] == 10
    await spend(harness, ledger, 700)
    assert [alert[1] for alert in await alerts(harness, budget)] == [50]


async def test_a_new_window_raises_them_anew(harness: LedgerHarness) -> None:
    budget = await harness.budget(100, period=Period.DAY)
    ledger = await harness.replica()
    for _ in range(2):
        await spend(harness, ledger, 60)
        harness.now_ms += DAY_MS
    found = await alerts(harness, budget)
    assert [alert[1] for alert in found] == [50, 50]
    assert found[1][0] - found[0][0] == DAY_MS


async def test_a_budget_may_have_percentages_of_its_own(harness: LedgerHarness) -> None:
    made = await harness.budget(1_000)
    store = BudgetStore(database=harness.database)
    own = Budget(**{**{name: getattr(made, name) for name in made.__slots__}, "alert_percents": (1, 99)})
    assert (await store.put(own, now_ms=harness.now_ms)).alert_percents == (1, 99)
    # What is not named stays.
    kept = Budget(**{**{name: getattr(made, name) for name in made.__slots__}, "alert_percents": ()})
    assert (await store.put(kept, now_ms=harness.now_ms)).alert_percents == (1, 99)
    ledger = await harness.replica()
    await spend(harness, ledger, 980)
    await spend(harness, ledger, 20)
    assert [alert[1] for alert in await alerts(harness, made)] == [1, 99]


async def test_a_lowered_limit_raises_what_is_reached_by_it(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await spend(harness, ledger, 400)
    await ledger.return_idle(budget_id=budget.budget_id)
    assert await alerts(harness, budget) == []
    await harness.budget(500)
    assert await alerts(harness, budget) == [(0, 50, 500, 400, "spend"), (0, 80, 500, 400, "spend")]


async def test_a_spent_budget_that_refuses_is_at_a_hundred_percent(harness: LedgerHarness) -> None:
    """Some nano-dollars are left of it for ever, less than any request's bound."""
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    watch = ExhaustionRecorder(database=harness.database, clock=harness.clock)
    await spend(harness, ledger, 950)
    with pytest.raises(InsufficientBudget):
        await harness.grant(ledger, 60)
    for _ in range(100):
        watch.refused(budget.budget_id, 0)

    async def last() -> tuple[int, str]:
        found = await alerts(harness, budget)
        return found[-1][1], found[-1][4]

    await wait_until(last, (100, "refusal"), within_s=60)
    # Spend that reaches the limit after all is no further news.
    await ledger.return_idle(budget_id=budget.budget_id)
    await spend(harness, ledger, 50)
    assert [alert[1] for alert in await alerts(harness, budget)] == [50, 80, 100]
    await watch.close()


async def test_a_request_that_is_too_dear_for_a_fresh_budget_raises_nothing(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    watch = ExhaustionRecorder(database=harness.database, clock=harness.clock)
    await spend(harness, ledger, 700)
    with pytest.raises(InsufficientBudget):
        await harness.grant(ledger, 5_000)
    watch.refused(budget.budget_id, 0)
    await watch._tasks.wait()
    assert [alert[1] for alert in await alerts(harness, budget)] == [50]


class Couriers:
    """Couriers of several replicas over one database."""

    def __init__(self, harness: LedgerHarness) -> None:
        self.harness = harness
        self.counted: list[Alert] = []
        self.running: list[WebhookDispatcher] = []

    def start(self, url: str, secret_file: Path | None = None, **settings: float) -> WebhookDispatcher:
        found = AlertSettings(
            webhook_url=url, webhook_secret_file=secret_file or (Path("unused") if url else None), **settings
        )
        courier = WebhookDispatcher(
            store=AlertStore(database=self.harness.database),
            settings=found,
            secret=Webhook.SECRET,
            clock=self.harness.clock,
            count=self.counted.append,
        )
        courier.start()
        self.running.append(courier)
        return courier

    async def deliveries(self) -> list[str]:
        rows = await self.harness.rows("SELECT delivery FROM budget_alerts ORDER BY ordinal")
        return [row.delivery for row in rows]


@pytest.fixture
async def couriers(harness: LedgerHarness) -> Any:
    made = Couriers(harness)
    async with contextlib.AsyncExitStack() as stack:
        yield made
        for dispatcher in made.running:
            stack.push_async_callback(dispatcher.close)


async def test_an_alert_is_posted_signed_until_it_is_taken(
    harness: LedgerHarness, webhook: Webhook, couriers: Couriers
) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    webhook.refusing = 2
    for _ in range(3):
        couriers.start(webhook.url, retry_s=0.05)
    await spend(harness, ledger, 600)
    couriers.running[0].wake()
    await wait_until(couriers.deliveries, ["delivered"], within_s=60)
    assert len({headers["x-enginehouse-alert-id"] for headers, _ in webhook.received}) == 1
    assert len(webhook.received) >= 3
    # However many replicas there are, and however often it is sent, it is news once.
    assert [alert.percent for alert in couriers.counted] == [50]
    for headers, body in webhook.received:
        told = json.loads(body)
        assert told["alert_id"] == headers["x-enginehouse-alert-id"]
        assert (told["budget_id"], told["percent"], told["settled_nanos"]) == (budget.budget_id, 50, 600)
        assert (told["scope"], told["scope_id"], told["cause"]) == ("key", harness.KEY, "spend")
        assert webhook.signed(headers, body)


async def test_without_a_webhook_alerts_are_kept_and_listed(harness: LedgerHarness, couriers: Couriers) -> None:
    budget = await harness.budget(100)
    ledger = await harness.replica()
    await spend(harness, ledger, 90)
    couriers.start("")
    await wait_until(couriers.deliveries, ["kept", "kept"], within_s=60)
    admin = AlertAdmin(store=AlertStore(database=harness.database))
    owner = Administrator(tenant_id=harness.TENANT, key_id="k", everything=False)
    page = await admin.list_alerts(pb.ListAlertsRequest(page_size=1), owner)
    assert [alert.percent for alert in page.alerts] == [80]
    assert page.alerts[0].delivery == pb.ALERT_DELIVERY_KEPT
    assert page.alerts[0].cause == pb.ALERT_CAUSE_SPEND
    rest = await admin.list_alerts(pb.ListAlertsRequest(page_size=1, page_token=page.next_page_token), owner)
    assert [alert.percent for alert in rest.alerts] == [50]
    assert rest.next_page_token == ""
    by_scope = await admin.list_alerts(pb.ListAlertsRequest(scope_id=harness.KEY), owner)
    by_budget = await admin.list_alerts(pb.ListAlertsRequest(budget_id=budget.budget_id), owner)
    assert len(by_scope.alerts) == len(by_budget.alerts) == 2
    stranger = Administrator(tenant_id="ten_other", key_id="k", everything=False)
    assert not (await admin.list_alerts(pb.ListAlertsRequest(), stranger)).alerts
    with pytest.raises(ServiceError, match="page_size"):
        await admin.list_alerts(pb.ListAlertsRequest(page_size=-1), owner)


async def test_a_webhook_that_never_answers_is_given_up_after_a_day(
    harness: LedgerHarness, couriers: Couriers, free_port: int
) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    await spend(harness, ledger, 60)
    url = f"http://127.0.0.1:{free_port}/"
    store = AlertStore(database=harness.database)
    courier = WebhookDispatcher(
        store=store,
        settings=AlertSettings(webhook_url=url, webhook_secret_file=Path("unused"), retry_s=0.01),
        secret=Webhook.SECRET,
        clock=harness.clock,
        count=couriers.counted.append,
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        assert await courier.deliver(client) == 1
        assert await couriers.deliveries() == ["pending"]
        harness.now_ms += DAY_MS + 1
        async with harness.database.begin() as connection:
            await connection.execute(sa.text("UPDATE budget_alerts SET due_at = now()"))
        assert await courier.deliver(client) == 1
    assert await couriers.deliveries() == ["failed"]
    assert await store.claim(count=5, retry_s=1) == []


@pytest.fixture
def free_port() -> Iterator[int]:
    with ReservedPort() as port:
        yield port.number


def test_a_webhook_needs_a_secret_and_a_plain_url(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs webhook_secret_file"):
        AlertSettings(webhook_url="http://127.0.0.1/")
    for url in ("ftp://x/", "http://user:pass@x/", "nonsense"):
        with pytest.raises(ValueError, match="must be http://host"):
            AlertSettings(webhook_url=url, webhook_secret_file=tmp_path / "s")
    (tmp_path / "s").write_text("short\n")
    settings = AlertSettings(webhook_url="http://x/", webhook_secret_file=tmp_path / "s")
    with pytest.raises(ConfigError, match="has 5 bytes; at least 16"):
        settings.secret()
    assert "http://x/" not in repr(settings)

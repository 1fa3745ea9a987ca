"""The ledger under random interleavings: draws, reservations, reports, lapses, duplicates, crashes and restarts.

Replicas and engines keep the protocol, and nothing else is certain: journals are written or lost, reports go to any
replica in any order and any number of times, time jumps, replicas vanish. Whatever happens:

- settled + leased never exceeds the limit, and settled is the sum of the usage;
- what is outstanding is covered by the lease that funds it, so that nothing honest is ever unbilled;
- at rest, what was billed is exactly what was served, each grant once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from enginehouse.kit.grants import peek
from enginehouse.router.database import open_database
from enginehouse.router.ledger import (
    Claim,
    InsufficientBudget,
    Ledger,
    LedgerTerms,
    LedgerUnavailable,
    Outcome,
    Scope,
    Verdict,
)
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.postgres import PostgresCluster

LIMIT = 2_000
TABLES = "usage, reservations, leases, budget_windows, budgets, replicas, engines, tenants"
TASKS = ("flush_journal", "compare", "return_idle", "renew")
ENGINES = ("engine-1", "engine-2")
# The engines' own accept window, as the kit has it: longer than the router's.
WINDOW_MS = 30_000
TERMS = LedgerTerms(replica_ttl_s=3600, accept_window_s=10, grace_s=30, recall_s=0)


@dataclasses.dataclass
class Work:
    """A grant on its way: not arrived, refused by engines, being served by one, or reported."""

    token: str
    cap: int
    issued_ms: int
    engine: str = ""
    cost: int = 0
    reported: bool = False
    acknowledged: bool = False
    refused: set[str] = dataclasses.field(default_factory=set)
    """The engines that refused it, and will not take it again."""
    unsaid: set[str] = dataclasses.field(default_factory=set)
    """Those of them whose report is not acknowledged."""


@pytest.mark.timeout(400)
def test_random_interleavings(postgres: PostgresCluster) -> None:
    loop = asyncio.new_event_loop()
    database = open_database(loop.run_until_complete(postgres.create_database()))

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.harness = LedgerHarness(database, terms=TERMS)
            self.replicas: list[Ledger] = []
            self.work: list[Work] = []
            self.served = 0
            self.go(self.prepare())

        def go(self, step: Any) -> Any:
            return loop.run_until_complete(step)

        async def prepare(self) -> None:
            async with database.begin() as connection:
                await connection.execute(sa.text(f"TRUNCATE {TABLES} CASCADE"))
            self.harness.engines = list(ENGINES)
            await self.harness.prepare()
            self.key_budget = await self.harness.budget(LIMIT)
            self.tenant_budget = await self.harness.budget(
                LIMIT + 700, scope=Scope.TENANT, scope_id=self.harness.TENANT
            )
            self.replicas.append(await self.harness.replica())

        @precondition(lambda self: len(self.replicas) < 3)
        @rule()
        def a_replica_starts(self) -> None:
            self.replicas.append(self.go(self.harness.replica()))

        @rule(which=st.integers(0, 9))
        def a_replica_dies(self, which: int) -> None:
            """With whatever it had not written down."""
            if self.replicas:
                dead = self.replicas.pop(which % len(self.replicas))
                self.go(self.harness.kill(dead))

        @precondition(lambda self: self.replicas)
        @rule(which=st.integers(0, 9), cap=st.integers(0, 400), both=st.booleans(), journalled=st.booleans())
        def a_request_comes(self, which: int, cap: int, both: bool, journalled: bool) -> None:
            scopes = [("key", self.harness.KEY), *([("tenant", self.harness.TENANT)] if both else [])]
            ledger = self.replicas[which % len(self.replicas)]
            try:
                token = self.go(self.harness.grant(ledger, cap, scopes=scopes))
            except InsufficientBudget:
                return
            self.work.append(Work(token, cap, self.harness.now_ms))
            if journalled:
                self.go(ledger.flush_journal())

        @precondition(lambda self: self.replicas)
        @rule(which=st.integers(0, 9), count=st.integers(2, 12), cap=st.integers(1, 300), seed=st.integers(0, 99))
        def many_come_at_once(self, which: int, count: int, cap: int, seed: int) -> None:
            ledger = self.replicas[which % len(self.replicas)]
            dice = random.Random(seed)

            async def one() -> None:
                try:
                    token = await self.harness.grant(ledger, dice.randint(1, cap))
                except InsufficientBudget:
                    return
                found = peek(token).candidates[0].cap_nanos
                self.work.append(Work(token, found, self.harness.now_ms))

            async def all_of_them() -> None:
                await asyncio.gather(*(one() for _ in range(count)))

            self.go(all_of_them())

        @precondition(lambda self: self.replicas and any(work.engine and not work.reported for work in self.work))
        @rule(which=st.integers(0, 9), count=st.integers(1, 4), cap=st.integers(1, 400), seed=st.integers(0, 99))
        def some_wait_while_one_is_reported(self, which: int, count: int, cap: int, seed: int) -> None:
            """At any replica; what they wait for may be held by another, which does not hear of it."""
            ledger = self.replicas[which % len(self.replicas)]
            dice = random.Random(seed)
            ended = dice.choice([work for work in self.work if work.engine and not work.reported])

            async def one() -> None:
                try:
                    token = await self.harness.grant(ledger, dice.randint(1, cap), wait_s=0.05)
                except InsufficientBudget:
                    return
                found = peek(token).candidates[0].cap_nanos
                self.work.append(Work(token, found, self.harness.now_ms))

            async def report() -> None:
                ended.reported = True
                claim = self.harness.report(ended.token, ended.cost, engine=ended.engine)
                await dice.choice(self.replicas).settle_now([claim])
                ended.acknowledged = True

            async def all_of_them() -> None:
                await asyncio.gather(*(one() for _ in range(count)), report())

            self.go(all_of_them())

        @precondition(lambda self: any(not work.engine for work in self.work))
        @rule(which=st.integers(0, 99), engine=st.sampled_from(ENGINES), share=st.floats(0, 1))
        def an_engine_takes_one(self, which: int, engine: str, share: float) -> None:
            """Unless it is too old: then nobody ever does."""
            waiting = [work for work in self.work if not work.engine]
            work = waiting[which % len(waiting)]
            if self.harness.now_ms - work.issued_ms > 10_000:
                self.work.remove(work)
                return
            if engine in work.refused:
                return
            work.engine = engine
            work.cost = round(work.cap * share)
            self.served += work.cost

        @precondition(lambda self: any(work.engine and not work.reported for work in self.work))
        @rule(which=st.integers(0, 99), more=st.integers(0, 400), heard=st.booleans(), share=st.floats(0, 1))
        def an_engine_needs_more(self, which: int, more: int, heard: bool, share: float) -> None:
            """Of the replica that reserved it, if that lives; the answer may be lost."""
            running = [work for work in self.work if work.engine and not work.reported]
            work = running[which % len(running)]
            holder = peek(work.token).replica_id
            ledger = next((ledger for ledger in self.replicas if ledger.replica_id == holder), None)
            if ledger is None:
                return
            try:
                token = self.go(self.harness.extend(ledger, work.token, work.cap + more))
            except (InsufficientBudget, LedgerUnavailable):
                return
            if heard:
                extra = round(more * share)
                work.token, work.cap, work.cost = token, work.cap + more, work.cost + extra
                self.served += extra

        @precondition(lambda self: any(not work.engine for work in self.work))
        @rule(which=st.integers(0, 99), engine=st.sampled_from(ENGINES))
        def an_engine_refuses_one(self, which: int, engine: str) -> None:
            """The gateway may carry it to the other, or give it up."""
            waiting = [work for work in self.work if not work.engine]
            work = waiting[which % len(waiting)]
            if self.harness.now_ms - work.issued_ms <= 10_000 and engine not in work.refused:
                work.refused.add(engine)
                work.unsaid.add(engine)

        @precondition(lambda self: self.replicas and any(work.refused for work in self.work))
        @rule(which=st.integers(0, 9), choice=st.integers(0, 99), acked=st.booleans())
        def a_refusal_is_reported(self, which: int, choice: int, acked: bool) -> None:
            """Perhaps before the other engine takes it, perhaps long after, perhaps again."""
            refused = [(work, engine) for work in self.work for engine in sorted(work.refused)]
            work, engine = refused[choice % len(refused)]
            ledger = self.replicas[which % len(self.replicas)]
            (verdict,) = self.go(ledger.settle_now([self.refusal(work, engine)]))
            if engine not in work.unsaid:
                assert verdict is Verdict.ALREADY
            if acked:
                work.unsaid.discard(engine)

        def refusal(self, work: Work, engine: str) -> Claim:
            claim: Claim = self.harness.report(work.token, 0, engine=engine, outcome=Outcome.REFUSED)
            return dataclasses.replace(claim, amounts={})

        @precondition(lambda self: self.replicas and any(work.engine for work in self.work))
        @rule(which=st.integers(0, 9), seed=st.integers(0, 999), count=st.integers(1, 6), acked=st.booleans())
        def reports_arrive(self, which: int, seed: int, count: int, acked: bool) -> None:
            """At any replica, in one transaction, perhaps again, the answer perhaps lost."""
            done = [work for work in self.work if work.engine]
            dice = random.Random(seed)
            batch = [dice.choice(done) for _ in range(count)]
            ledger = self.replicas[which % len(self.replicas)]
            claims = [self.harness.report(work.token, work.cost, engine=work.engine) for work in batch]
            for work in batch:
                work.reported = True
            verdicts = self.go(ledger.settle_now(claims))
            for work, verdict in zip(batch, verdicts, strict=True):
                if work.acknowledged:
                    assert verdict is Verdict.ALREADY
                work.acknowledged = work.acknowledged or acked

        @precondition(lambda self: self.replicas)
        @rule(
            which=st.integers(0, 9), what=st.sampled_from(["flush_journal", "compare", "return_idle", "sweep", "renew"])
        )
        def a_task_runs(self, which: int, what: str) -> None:
            ledger = self.replicas[which % len(self.replicas)]
            self.go(getattr(ledger, what)())
            ledger.measure(elapsed_s=1.0)

        @rule(seconds=st.sampled_from([1, 3, 15, 40, 120]), which=st.integers(0, 9), swept=st.booleans())
        def time_passes(self, seconds: int, which: int, swept: bool) -> None:
            self.harness.now_ms += seconds * 1000
            if swept and self.replicas:
                self.go(self.replicas[which % len(self.replicas)].sweep())

        @precondition(lambda self: self.replicas)
        @rule(which=st.integers(0, 9), engine=st.sampled_from(ENGINES))
        def an_engine_says_how_far_it_is(self, which: int, engine: str) -> None:
            ledger = self.replicas[which % len(self.replicas)]
            self.go(self.harness.watermark(ledger, self.watermark(engine), engine=engine))

        def watermark(self, engine: str) -> int:
            unreported = [
                work.issued_ms
                for work in self.work
                if (work.engine == engine and not work.acknowledged) or engine in work.unsaid
            ]
            return min([self.harness.now_ms - WINDOW_MS, *unreported])

        @invariant()
        def the_books_agree(self) -> None:
            self.go(self.check())

        async def check(self) -> None:
            # Before any row is read: a draw in the background may add to book and row while they are compared.
            free = [(account, account.free) for ledger in self.replicas for account in ledger.book.accounts()]
            windows = await self.harness.rows(
                "SELECT w.budget_id, w.limit_nanos, w.settled_nanos, w.leased_nanos,"
                " (SELECT coalesce(sum(remaining_nanos), 0) FROM leases l WHERE l.budget_id = w.budget_id) AS held"
                " FROM budget_windows w"
            )
            for row in windows:
                assert row.settled_nanos + row.leased_nanos <= row.limit_nanos
                assert row.leased_nanos == row.held
            billed = await self.harness.billed()
            settled = {row.budget_id: row.settled_nanos for row in windows}
            assert settled.get(self.key_budget.budget_id, 0) == billed
            assert all(ledger.unbilled_nanos == 0 for ledger in self.replicas)
            assert await self.harness.rows("SELECT 1 FROM usage WHERE unbilled_nanos > 0") == []
            for ledger in self.replicas:
                for account in ledger.book.accounts():
                    # `free` may be under zero for a while: a bill of another replica's is off the lease before the
                    # holder knows that the reservation is closed.
                    assert account.remaining >= 0
                    assert account.reserved >= 0
                    assert account.returning >= 0
            # What nobody has reported yet is still there to pay for it.
            rows = await self.harness.rows("SELECT lease_id, remaining_nanos FROM leases WHERE NOT released")
            remaining = {row.lease_id: row.remaining_nanos for row in rows}
            states = {
                row.grant_id: row.state for row in await self.harness.rows("SELECT grant_id, state FROM reservations")
            }
            needed: dict[str, int] = {}
            for work in self.work:
                grant = peek(work.token)
                if states.get(grant.grant_id, "open") != "open":
                    continue
                if not work.engine and (self.harness.now_ms - work.issued_ms > 10_000 or work.refused == set(ENGINES)):
                    continue
                for funding in grant.funding:
                    needed[funding.lease_id] = needed.get(funding.lease_id, 0) + work.cap
            for lease_id, nanos in needed.items():
                assert remaining.get(lease_id, 0) >= nanos, "an outstanding grant is not covered"
            for account, nanos in free:
                # What a holder takes for free is free: neither spent elsewhere nor promised to a grant.
                there = remaining.get(account.lease_id, 0) - needed.get(account.lease_id, 0)
                assert nanos <= there, "a holder thinks that it has more than it has"
            for work in self.work:
                assert not (work.engine and states.get(peek(work.token).grant_id) == "lapsed"), "lapsed while it ran"

        def teardown(self) -> None:
            self.go(self.rest())

        async def rest(self) -> None:
            """Everything is reported, and everybody has passed everything: then all is settled, exactly."""
            if not self.replicas:
                self.replicas.append(await self.harness.replica())
            ledger = self.replicas[0]
            for other in self.replicas:
                await other.flush_journal()
            for work in self.work:
                for engine in sorted(work.unsaid):
                    await ledger.settle_now([self.refusal(work, engine)])
                work.unsaid.clear()
                if work.engine:
                    await ledger.settle_now([self.harness.report(work.token, work.cost, engine=work.engine)])
                    work.acknowledged = True
            for _ in range(3):
                self.harness.now_ms += 200_000
                for engine in ENGINES:
                    await self.harness.watermark(ledger, self.watermark(engine), engine=engine)
                while True:
                    swept = await ledger.sweep()
                    if swept is None or not swept.claims:
                        break
            for other in self.replicas:
                await other.compare()
                await other.return_idle()
            assert await self.harness.billed() == self.served
            open_rows = await self.harness.rows("SELECT count(*) AS count FROM reservations WHERE state = 'open'")
            assert open_rows[0].count == 0
            for row in await self.harness.rows("SELECT sum(leased_nanos) AS leased FROM budget_windows"):
                assert not row.leased, "money is held for nothing"
            for replica in self.replicas:
                assert len(replica.book) == 0
            await self.check()

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(database.dispose())
        loop.close()


@pytest.mark.parametrize("away", ["draw", "settle"])
async def test_an_unreachable_database_is_said_to_be_so(harness: LedgerHarness, away: str) -> None:
    await harness.budget(LIMIT)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 10)
    async with harness.database.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE leases RENAME TO elsewhere"))
    # A missing table is a defect, not an outage, and must not be taken for one.
    step = harness.grant(ledger, 1_500) if away == "draw" else ledger.settle_now([harness.report(token, 5)])
    with pytest.raises((sa.exc.ProgrammingError, asyncpg.UndefinedTableError)):
        await step
    broken = open_database("postgresql://nobody@127.0.0.1:1/none")
    ledger._store._database = broken
    step = harness.grant(ledger, 1_500) if away == "draw" else ledger.settle_now([harness.report(token, 5)])
    with pytest.raises(LedgerUnavailable):
        await step
    await broken.dispose()

"""Caps of requests and runs, without a process."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.admission.cost_caps import RunCaps, lowest_cap, request_cap, run_scopes
from enginehouse.router.identity import Key
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, Period, Scope
from router.tests.harness.ledger import LedgerHarness

HEADER = b"x-enginehouse-max-cost-nanos"


def key(harness: LedgerHarness, name: str = "key_1", **caps: int) -> Key:
    return Key(
        key_id=name,
        tenant_id=harness.TENANT if harness else "ten_1",
        name="k",
        digest=b"",
        hint="",
        scopes=("inference",),
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
        **caps,
    )


def test_the_lowest_cap_counts() -> None:
    child, parent = key(None, max_request_nanos=50), key(None, "key_0", max_request_nanos=40)
    free = key(None)
    assert request_cap({}, lowest_cap([free])) is None
    assert request_cap({}, lowest_cap([child])) == 50
    # What a key was made with bounds it.
    assert lowest_cap([child, parent]) == lowest_cap([free, parent]) == 40
    assert request_cap({HEADER: b"30"}, 40) == 30
    assert request_cap({HEADER: b"60"}, 40) == 40
    assert request_cap({HEADER: b"0"}, None) == 0
    for bad in (b"", b"-1", b"+1", b"1e3", b" 1", b"\xb2", b"9" * 20, b"9223372036854775808"):
        with pytest.raises(ServiceError) as refused:
            request_cap({HEADER: bad}, None)
        assert refused.value.reason is Reason.INVALID_REQUEST


def test_no_run_can_be_named_so_that_anothers_cap_pays() -> None:
    capped = key(None, run_cap_nanos=5)
    (scope,) = run_scopes([capped, key(None, "key_0")], "run-1")
    assert scope == (Scope.RUN, "ten_1/key_1 run-1")
    assert run_scopes([key(None)], "run-1") == []


class Replicas:
    """Run caps of several replicas over one database."""

    def __init__(self, harness: LedgerHarness) -> None:
        self.harness = harness
        self.store = BudgetStore(database=harness.database)
        self.indexes = [BudgetIndex(store=self.store) for _ in range(3)]
        self.caps = [RunCaps(store=self.store, index=index, clock=harness.clock, idle_s=60) for index in self.indexes]

    def held(self, which: int, keys: list[Key], run: str = "run-1") -> bool:
        return self.caps[which].held(keys, run, now_ms=self.harness.now_ms)


async def test_replicas_that_meet_a_run_at_once_make_one_budget(harness: LedgerHarness) -> None:
    replicas = Replicas(harness)
    keys = [key(harness, run_cap_nanos=500), key(harness, "key_0", run_cap_nanos=900)]
    assert not replicas.held(0, keys)
    await asyncio.gather(*[caps.fetch(keys, "run-1") for caps in replicas.caps for _ in range(3)])
    assert all(replicas.held(which, keys) for which in range(3))
    rows = await harness.rows("SELECT scope_id, limit_nanos, automatic FROM budgets ORDER BY limit_nanos")
    assert [tuple(row) for row in rows] == [
        (f"{harness.TENANT}/key_1 run-1", 500, True), (f"{harness.TENANT}/key_0 run-1", 900, True)
    ]  # fmt: skip
    found = [index.of(Scope.RUN, f"{harness.TENANT}/key_1 run-1") for index in replicas.indexes]
    assert found[0] == found[1] == found[2]


async def test_runs_that_are_over_take_no_memory_and_keep_their_cap(harness: LedgerHarness) -> None:
    replicas = Replicas(harness)
    keys = [key(harness, run_cap_nanos=500)]
    index, caps = replicas.indexes[0], replicas.caps[0]
    for number in range(5):
        assert not replicas.held(0, keys, f"run-{number}")
        await caps.fetch(keys, f"run-{number}")
    await index.reload()
    assert all(replicas.held(0, keys, f"run-{number}") for number in range(5))
    # Another replica holds none of them, however often it reads.
    await replicas.indexes[1].reload()
    assert not replicas.held(1, keys)
    harness.now_ms += 50_000
    assert replicas.held(0, keys, "run-4")
    harness.now_ms += 20_000
    caps.forget_idle()
    assert [replicas.held(0, keys, f"run-{number}") for number in range(5)] == [False] * 4 + [True]
    # It comes back as it was, not as a new one.
    before = await harness.rows("SELECT budget_id FROM budgets ORDER BY ordinal")
    await caps.fetch(keys, "run-0")
    assert replicas.held(0, keys, "run-0")
    assert await harness.rows("SELECT budget_id FROM budgets ORDER BY ordinal") == before


async def test_what_an_administrator_sets_for_a_run_is_held_by_all(harness: LedgerHarness) -> None:
    replicas = Replicas(harness)
    keys = [key(harness, run_cap_nanos=500)]
    await replicas.caps[0].fetch(keys, "run-1")
    wanted = Budget(
        budget_id=new_id("bud"),
        tenant_id=harness.TENANT,
        scope=Scope.RUN,
        scope_id=f"{harness.TENANT}/key_1 run-1",
        period=Period.LIFETIME,
        limit_nanos=7_000,
        created_at_ms=1,
    )
    budget = await replicas.store.put(wanted, now_ms=harness.now_ms)
    assert (budget.limit_nanos, budget.automatic) == (7_000, False)
    for which in range(3):
        await replicas.indexes[which].reload()
        assert replicas.held(which, keys)
    harness.now_ms += 10**6
    replicas.caps[0].forget_idle()
    assert replicas.held(0, keys)

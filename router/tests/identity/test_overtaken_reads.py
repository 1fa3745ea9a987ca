"""Reads that a write overtakes: what the write said stays, however late the read ends."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from enginehouse.router.cache._store import CacheRules, CacheStore, KeyPolicy, TagGeneration
from enginehouse.router.identity import (
    Key,
    KeyHasher,
    KeyIndex,
    KeyStore,
    Role,
    Tenant,
    User,
    UserIndex,
    UserStore,
    new_secret,
)
from enginehouse.router.ledger import Budget, BudgetIndex, BudgetStore, Period, Scope
from enginehouse.router.prices import PriceBook, PriceRefresher, PriceStore

_TENANT = Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0)
_HASHER = KeyHasher(pepper=b"p" * 32)


class HeldStore:
    """Holds rows, and each read of one open from when it saw the row until the test lets it end."""

    def __init__(self, row: Any) -> None:
        self.row = row
        self.reads: asyncio.Queue[asyncio.Future[Exception | None]] = asyncio.Queue()

    async def get(self, _row_id: str) -> Any:
        seen = self.row
        end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.reads.put_nowait(end)
        error = await end
        if error is not None:
            raise error
        return seen

    async def get_keys(self, key_ids: list[str]) -> list[Key]:
        return [await self.get(key_ids[0])]

    async def get_tenant(self, _tenant_id: str) -> Tenant:
        return _TENANT

    async def all_usable(self, *, now_ms: int) -> tuple[list[Key], list[Tenant]]:
        return await self.get(""), [_TENANT]

    async def of(self, _scope: Scope, scope_id: str) -> list[Budget]:
        return [await self.get(scope_id)]


def _key(secret: str, key_id: str = "key_1") -> Key:
    return Key(
        key_id=key_id,
        tenant_id="ten_1",
        name="k",
        digest=_HASHER.digest(secret),
        hint="",
        scopes=("inference",),
        allowed_models=(),
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )


def _budget(limit_nanos: int) -> Budget:
    return Budget(
        budget_id="bud_1",
        tenant_id="ten_1",
        scope=Scope.KEY,
        scope_id="key_1",
        period=Period.LIFETIME,
        limit_nanos=limit_nanos,
        created_at_ms=0,
    )


def _keys(store: HeldStore) -> KeyIndex:
    return KeyIndex(store=cast("KeyStore", store), hasher=_HASHER, clock=lambda: 0)


async def _settle() -> None:
    """Let everything run that is not held."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("overtaken", [1, 5, 8])
async def test_a_rotation_outlasts_reads_begun_before_it(overtaken: int) -> None:
    secret = new_secret()
    store = HeldStore(_key(secret))
    index = _keys(store)
    index.put(store.row, _TENANT)
    index.changed("key_1")
    for _ in range(overtaken):
        held = await store.reads.get()
        old, secret = secret, new_secret()
        store.row = _key(secret)
        index.put(store.row, _TENANT)
        held.set_result(None)
        await _settle()
        assert index.authenticate(old, now_ms=0) is None
        assert index.authenticate(secret, now_ms=0) is not None
    await index.close()


async def test_other_keys_changes_do_not_make_a_read_begin_again() -> None:
    secret = new_secret()
    store = HeldStore(_key(secret))
    index = _keys(store)
    index.changed("key_1")
    held = await store.reads.get()
    index.put(dataclasses.replace(_key(new_secret()), key_id="key_2"), _TENANT)
    held.set_result(None)
    await _settle()
    assert index.authenticate(secret, now_ms=0) is not None
    await index.close()


async def test_a_failed_read_does_not_remove_a_key_written_meanwhile() -> None:
    secret = new_secret()
    store = HeldStore(_key(secret))
    index = _keys(store)
    index.changed("key_1")
    held = await store.reads.get()
    index.put(store.row, _TENANT)
    held.set_result(OSError("gone"))
    await _settle()
    assert index.authenticate(secret, now_ms=0) is not None
    await index.close()


async def test_a_key_whose_read_failed_stops_working_until_one_succeeds() -> None:
    """It may have been revoked. Nothing else has to happen for it to come back."""
    secret = new_secret()
    store = HeldStore(_key(secret))
    index = _keys(store)
    index.put(store.row, _TENANT)
    index.changed("key_1")
    (await store.reads.get()).set_result(OSError("gone"))
    await _settle()
    assert index.authenticate(secret, now_ms=0) is None
    (await store.reads.get()).set_result(None)
    await _settle()
    assert index.authenticate(secret, now_ms=0) is not None
    await index.close()


async def test_a_read_of_all_keys_ends_and_keeps_what_changed_meanwhile() -> None:
    """Keys that are made and rotated all the time neither keep it from ending nor get lost."""
    known, rotated, made = new_secret(), new_secret(), new_secret()
    store = HeldStore([_key(known), _key(new_secret(), "key_2")])
    index = _keys(store)
    reading = asyncio.create_task(index.reload())
    held = await store.reads.get()
    index.put(_key(rotated, "key_2"), _TENANT)
    index.put(_key(made, "key_3"), _TENANT)
    held.set_result(None)
    await reading
    assert all(index.authenticate(secret, now_ms=0) for secret in (known, rotated, made))
    assert len(index) == 3
    await index.close()


async def test_an_older_read_of_all_keys_never_replaces_a_newer_one() -> None:
    old, new = new_secret(), new_secret()
    store = HeldStore([_key(old)])
    index = _keys(store)
    readings = [asyncio.create_task(index.reload()) for _ in range(2)]
    held = await store.reads.get()
    store.row = [_key(new)]
    await _settle()
    # If the second has begun, it ends first.
    if not store.reads.empty():
        store.reads.get_nowait().set_result(None)
    await _settle()
    held.set_result(None)
    await _settle()
    while not all(reading.done() for reading in readings):
        (await store.reads.get()).set_result(None)
        await _settle()
    assert index.authenticate(old, now_ms=0) is None
    assert index.authenticate(new, now_ms=0) is not None
    await index.close()


async def test_an_older_read_of_prices_never_replaces_a_newer_one() -> None:
    class Book:
        taken: list[str]

        def replace(self, prices: list[str], _discounts: list[str], *, now_ms: int) -> None:
            self.taken = prices

    class Store(HeldStore):
        async def all(self) -> tuple[list[str], list[str]]:
            return await self.get(""), []

    store, book = Store(["old"]), Book()
    refresher = PriceRefresher(store=cast("PriceStore", store), book=cast("PriceBook", book), clock=lambda: 0)
    readings = [asyncio.create_task(refresher.reload()) for _ in range(2)]
    held = await store.reads.get()
    store.row = ["new"]
    await _settle()
    if not store.reads.empty():
        store.reads.get_nowait().set_result(None)
    await _settle()
    held.set_result(None)
    await _settle()
    while not all(reading.done() for reading in readings):
        (await store.reads.get()).set_result(None)
        await _settle()
    assert book.taken == ["new"]
    await refresher.close()


async def test_a_cache_policy_set_during_a_read_of_all_stays() -> None:
    class Store(HeldStore):
        async def all(self) -> tuple[list[TagGeneration], list[KeyPolicy]]:
            return [], await self.get("")

    before, after = (KeyPolicy("key_1", mode, 0, False, 0.0) for mode in (1, 2))
    store = Store([before])
    rules = CacheRules(store=cast("CacheStore", store))
    reading = asyncio.create_task(rules.reload())
    held = await store.reads.get()
    rules.put(after)
    held.set_result(None)
    await reading
    assert rules.policy("key_1") == after


async def test_a_budget_is_read_until_a_read_succeeds() -> None:
    budget = _budget(10)
    store = HeldStore(budget)
    index = BudgetIndex(store=cast("BudgetStore", store))
    index.put("bud_1", budget)
    store.row = _budget(5)
    index.changed("bud_1")
    (await store.reads.get()).set_result(OSError("gone"))
    (await store.reads.get()).set_result(None)
    await _settle()
    assert index.of(Scope.KEY, "key_1") == (store.row,)
    await index.close()


async def test_a_disabled_user_stays_out_whatever_was_read_before() -> None:
    user = User(user_id="user_1", tenant_id="ten_1", name="anu", role=Role.ADMIN, created_at_ms=0)
    store = HeldStore(user)
    index = UserIndex(tenants=cast("KeyStore", store), users=cast("UserStore", store))
    index.put_tenant(_TENANT)
    index.changed("user_1")
    for moment in range(1, 7):
        held = await store.reads.get()
        store.row = dataclasses.replace(user, disabled_at_ms=moment)
        index.put_user(store.row)
        held.set_result(None)
        await _settle()
        assert index.user("user_1") == store.row
    await index.close()


@pytest.mark.parametrize("whole_key", [False, True])
async def test_a_set_budget_stays_whatever_was_read_before(whole_key: bool) -> None:
    budget = _budget(10)
    store = HeldStore(budget)
    index = BudgetIndex(store=cast("BudgetStore", store))
    reading = asyncio.create_task(index.refresh_key("key_1") if whole_key else index.refresh("bud_1"))
    held = await store.reads.get()
    store.row = dataclasses.replace(budget, limit_nanos=5)
    index.put("bud_1", store.row)
    held.set_result(None)
    await _settle()
    assert index.of(Scope.KEY, "key_1") == (store.row,)
    (await store.reads.get()).set_result(None)
    await reading
    assert index.of(Scope.KEY, "key_1") == (store.row,)

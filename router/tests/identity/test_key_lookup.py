"""Secrets that a router does not know: looked for before they are refused, at a bounded cost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.clock import wall_clock
from enginehouse.router.identity import Key, KeyHasher, KeyIndex, KeyStore, Tenant, new_secret

_HASHER = KeyHasher(pepper=b"p" * 32)
_TENANT = Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0)


class CountedStore(KeyStore):
    """Counts its searches, and fails when told to."""

    searches = 0
    away = False

    async def find_keys(self, digests: Sequence[bytes]) -> list[Key]:
        self.searches += 1
        if self.away:
            raise OSError("gone")
        return await super().find_keys(digests)


def _key(secret: str, **fields: object) -> Key:
    key = Key(
        key_id="key_1",
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
    return dataclasses.replace(key, **fields)  # type: ignore[arg-type]


@pytest.fixture
async def store(database: AsyncEngine) -> CountedStore:
    store = CountedStore(database=database)
    await store.insert_tenant(_TENANT)
    return store


@pytest.fixture
async def index(store: CountedStore) -> AsyncIterator[KeyIndex]:
    """An index that hears of nothing."""
    index = KeyIndex(store=store, hasher=_HASHER, clock=wall_clock)
    await index.reload()
    yield index
    await index.close()


async def test_a_key_made_elsewhere_is_found_with_what_it_was_made_with(store: CountedStore, index: KeyIndex) -> None:
    secret = new_secret()
    await store.insert_key(_key(new_secret(), key_id="key_parent"))
    await store.insert_key(_key(secret, parent_id="key_parent"))
    assert await index.find(secret)
    found = index.authenticate(secret, now_ms=wall_clock())
    assert found is not None
    assert found.key.key_id == "key_1"
    assert index.get("key_parent") is not None


async def test_a_secret_rotated_elsewhere_replaces_the_old_one(store: CountedStore, index: KeyIndex) -> None:
    old, new = new_secret(), new_secret()
    await store.insert_key(_key(old))
    assert await index.find(old)
    async with store.transaction() as connection:
        await store.rotate_key(_key(old), _HASHER.digest(new), "", now_ms=1, previous_until_ms=1, connection=connection)
    assert await index.find(new)
    assert index.authenticate(new, now_ms=wall_clock()) is not None
    assert index.authenticate(old, now_ms=wall_clock()) is None


@pytest.mark.parametrize("fields", [{"revoked_at_ms": 1}, {"expires_at_ms": 1}])
async def test_what_is_over_is_not_found(store: CountedStore, index: KeyIndex, fields: dict[str, int]) -> None:
    secret = new_secret()
    await store.insert_key(_key(secret, **fields))
    assert not await index.find(secret)
    assert index.authenticate(secret, now_ms=wall_clock()) is None


async def test_invented_secrets_cost_few_searches(store: CountedStore, index: KeyIndex) -> None:
    invented = [new_secret() for _ in range(500)]
    assert not any(await asyncio.gather(*(index.find(secret) for secret in invented for _ in range(3))))
    assert store.searches <= 3
    searches = store.searches
    assert not any([await index.find(secret) for secret in invented])
    assert store.searches == searches, "what was not found is remembered"
    assert not await index.find("not a key at all")
    assert store.searches == searches


async def test_without_an_answer_nobody_is_told_that_the_key_is_invalid(store: CountedStore, index: KeyIndex) -> None:
    store.away = True
    secret = new_secret()
    with pytest.raises(ServiceError) as caught:
        await index.find(secret)
    assert caught.value.reason is Reason.LEDGER_UNAVAILABLE
    await store.insert_key(_key(secret))
    store.away = False
    assert await index.find(secret)


async def test_too_many_at_once_are_asked_to_come_back(index: KeyIndex) -> None:
    found = await asyncio.gather(*(index.find(new_secret()) for _ in range(1_200)), return_exceptions=True)
    refused = [each for each in found if isinstance(each, ServiceError)]
    assert [each for each in found if each not in refused] == [False] * 1_000
    assert {each.reason for each in refused} == {Reason.LEDGER_UNAVAILABLE}

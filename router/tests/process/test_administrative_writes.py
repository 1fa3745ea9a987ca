"""Administrative writes: each holds on the router that answered, as it answers, and on all within a second."""

from __future__ import annotations

import httpx

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import cache_pb2, identity_pb2, prices_pb2
from router.tests.harness.admin_calls import call
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until

Pair = tuple[RouterProcess, RouterProcess]


async def _made(router: RouterProcess, name: str, **fields: object) -> pb.CreateKeyResponse:
    made: pb.CreateKeyResponse = await router.admin(router.key, "CreateKey", pb.CreateKeyRequest(name=name, **fields))  # type: ignore[arg-type]
    return made


def _status(answer: httpx.Response) -> int:
    return answer.status_code


async def test_a_new_key_is_good_on_every_router_at_once(shared_pair: Pair) -> None:
    first, second = shared_pair
    for turn in range(20):
        made = await _made(first, f"new-{turn}", budget_nanos=10_000_000, scopes=["inference", "keys"])
        assert _status(await second.generate(made.secret)) == 200
        assert _status(await first.generate(made.secret)) == 200
        run = await call(
            first, made.secret, "IdentityService/CreateRunKey", identity_pb2.CreateRunKeyRequest(run_id="r")
        )
        assert _status(await second.generate(run.secret)) == 200


async def test_a_rotated_key_is_good_everywhere_at_once_and_the_old_secret_nowhere_within_a_second(
    shared_pair: Pair,
) -> None:
    first, second = shared_pair
    made = await _made(first, "rotated")
    assert _status(await second.generate(made.secret)) == 200
    old = made.secret
    for _ in range(20):
        asked = identity_pb2.RotateKeyRequest(key_id=made.key.key_id, overlap_seconds=0)
        rotated = await call(first, first.key, "IdentityService/RotateKey", asked)
        assert _status(await first.generate(old)) == 401
        assert _status(await first.generate(rotated.secret)) == 200
        assert _status(await second.generate(rotated.secret)) == 200
        # Whoever reads the new secret there has read that the old one is over.
        assert _status(await second.generate(old)) == 401
        old = rotated.secret


async def test_a_revoked_key_ends(shared_pair: Pair) -> None:
    first, second = shared_pair
    for turn in range(10):
        made = await _made(first, f"revoked-{turn}")
        assert _status(await second.generate(made.secret)) == 200
        await first.admin(first.key, "RevokeKey", pb.RevokeKeyRequest(key_id=made.key.key_id))
        assert _status(await first.generate(made.secret)) == 401

        async def there(secret: str = made.secret) -> int:
            return _status(await second.generate(secret))

        await wait_until(there, 401, within_s=1)


async def test_a_budget_binds(shared_pair: Pair) -> None:
    first, second = shared_pair
    made = await _made(first, "bound")
    assert _status(await second.generate(made.secret)) == 200
    budget = pb.SetBudgetRequest(
        scope=pb.BUDGET_SCOPE_KEY, scope_id=made.key.key_id, window=pb.BUDGET_WINDOW_LIFETIME, limit_nanos=0
    )
    kept = await first.admin(first.key, "SetBudget", budget)
    assert reason_of(await first.generate(made.secret)) == "BUDGET_EXHAUSTED"

    async def there() -> int:
        return _status(await second.generate(made.secret))

    await wait_until(there, 429, within_s=1)
    await first.admin(first.key, "DeleteBudget", pb.DeleteBudgetRequest(budget_id=kept.budget.budget_id))
    assert _status(await first.generate(made.secret)) == 200
    await wait_until(there, 200, within_s=1)


async def test_a_price_holds(shared_pair: Pair) -> None:
    first, second = shared_pair

    async def price(router: RouterProcess) -> int:
        asked = prices_pb2.ListPricesRequest(model="large", holding_only=True)
        listed = await call(router, router.key, "AdminService/ListPrices", asked)
        return int(next(each for each in listed.prices if each.unit == usage_pb2.UNIT_OUTPUT_TOKENS).nanos_per_million)

    for amount in (7, 8, 9):
        asked = prices_pb2.SetPriceRequest(model="large", unit=usage_pb2.UNIT_OUTPUT_TOKENS, nanos_per_million=amount)
        await call(first, first.key, "AdminService/SetPrice", asked)
        assert await price(first) == amount
        await wait_until(lambda: price(second), amount, within_s=1)


async def test_a_cache_policy_holds(shared_pair: Pair) -> None:
    first, _ = shared_pair
    made = await _made(first, "cached")
    for mode in (cache_pb2.CACHE_MODE_ASKED, cache_pb2.CACHE_MODE_NEVER) * 5:
        asked = cache_pb2.SetCachePolicyRequest(key_id=made.key.key_id, mode=mode)
        await call(first, first.key, "CacheService/SetCachePolicy", asked)
        answer = await first.generate(made.secret, headers={"x-enginehouse-cache": "use"})
        assert ("x-enginehouse-cache" in answer.headers) == (mode == cache_pb2.CACHE_MODE_ASKED)

"""Keys over their life: rotated with an overlap, made for runs within what their maker may do, found in equal time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.router.v1 import admin_pb2, identity_pb2
from enginehouse.kit.grants import verify
from enginehouse.router.clock import wall_clock
from enginehouse.router.identity import Key, KeyHasher, KeyIndex, KeyStore, Tenant, new_secret
from enginehouse.router.ids import new_id
from router.tests.harness.admin_calls import Refused, call
from router.tests.harness.router_process import RouterProcess

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
_MINUTE_MS = 60_000


async def make(shared_router: RouterProcess, credential: str = "", **fields: Any) -> Any:
    request = admin_pb2.CreateKeyRequest(**{"name": "k", **fields})
    return await call(shared_router, credential or shared_router.key, "AdminService/CreateKey", request)


async def for_run(shared_router: RouterProcess, credential: str, **fields: Any) -> Any:
    request = identity_pb2.CreateRunKeyRequest(**{"run_id": new_id("run"), **fields})
    return await call(shared_router, credential, "IdentityService/CreateRunKey", request)


async def rotate(shared_router: RouterProcess, key_id: str, **fields: Any) -> Any:
    request = identity_pb2.RotateKeyRequest(key_id=key_id, **fields)
    return await call(shared_router, shared_router.key, "IdentityService/RotateKey", request)


async def revoke(shared_router: RouterProcess, key_id: str) -> None:
    await call(shared_router, shared_router.key, "AdminService/RevokeKey", admin_pb2.RevokeKeyRequest(key_id=key_id))


async def outcome(shared_router: RouterProcess, secret: str, **fields: Any) -> str:
    answer = await shared_router.generate(secret, **fields)
    return "OK" if answer.status_code == 200 else str(answer.json()["details"][0]["reason"])


async def test_both_secrets_work_until_the_overlap_ends(shared_router: RouterProcess) -> None:
    made = await make(shared_router, budget_nanos=10**9)
    rotated = await rotate(shared_router, made.key.key_id, overlap_seconds=3600)
    assert rotated.key.key_id == made.key.key_id
    assert rotated.secret != made.secret
    assert rotated.key.hint == rotated.secret[:9]
    assert rotated.key.previous_until_ms - rotated.key.rotated_at_ms == 3600 * 1000
    assert [await outcome(shared_router, secret) for secret in (made.secret, rotated.secret)] == ["OK", "OK"]
    again = await rotate(shared_router, made.key.key_id)
    assert again.key.previous_until_ms - again.key.rotated_at_ms == 86_400 * 1000
    results = [await outcome(shared_router, secret) for secret in (made.secret, rotated.secret, again.secret)]
    assert results == ["KEY_INVALID", "OK", "OK"], "of the secrets before, the last one alone goes on"
    last = await rotate(shared_router, made.key.key_id, overlap_seconds=0)
    results = [await outcome(shared_router, secret) for secret in (again.secret, last.secret)]
    assert results == ["KEY_INVALID", "OK"]
    await revoke(shared_router, made.key.key_id)
    assert await outcome(shared_router, last.secret) == "KEY_INVALID"
    with pytest.raises(Refused, match="FAILED_PRECONDITION"):
        await rotate(shared_router, made.key.key_id)
    with pytest.raises(Refused, match="NOT_FOUND"):
        await rotate(shared_router, "key_nobody")
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        await rotate(shared_router, made.key.key_id, overlap_seconds=31 * 86_400)


def test_the_old_secret_ends_to_the_millisecond() -> None:
    hasher = KeyHasher(pepper=b"p" * 32)
    old, new = new_secret(), new_secret()
    index = _index(hasher)
    index.put(_key(hasher, new, previous_digest=hasher.digest(old), previous_until_ms=1_000), _TENANT)
    assert index.authenticate(old, now_ms=999) is not None
    assert index.authenticate(old, now_ms=1_000) is None
    assert index.authenticate(new, now_ms=1_000) is not None


async def test_a_runs_key_is_bound_to_it(shared_router: RouterProcess) -> None:
    made = await for_run(shared_router, shared_router.key, run_id="run-1", lifetime_seconds=60)
    assert list(made.key.scopes) == ["inference"]
    assert made.key.expires_at_ms - made.key.created_at_ms == _MINUTE_MS
    answer = await shared_router.generate(made.secret)
    grant = verify(
        answer.headers["x-enginehouse-grant"], keys=shared_router.grant_keys, method=GENERATE, now_ms=wall_clock()
    )
    assert grant.principal.run_id == "run-1"
    assert await outcome(shared_router, made.secret, headers={"x_enginehouse_run_id": "run-1"}) == "OK"
    assert await outcome(shared_router, made.secret, headers={"x_enginehouse_run_id": "run-2"}) == "SCOPE_DENIED"
    for method, request in {
        "AdminService/ListKeys": admin_pb2.ListKeysRequest(),
        "AdminService/CreateKey": admin_pb2.CreateKeyRequest(name="k"),
        "IdentityService/CreateRunKey": identity_pb2.CreateRunKeyRequest(run_id="r"),
    }.items():
        with pytest.raises(Refused, match="SCOPE_DENIED"):
            await call(shared_router, made.secret, method, request)


async def test_a_runs_key_can_do_no_more_than_its_maker(shared_router: RouterProcess) -> None:
    ends = wall_clock() + 10 * _MINUTE_MS
    maker = await make(
        shared_router,
        role="developer",
        allowed_models=["small"],
        expires_at_ms=ends,
        max_request_nanos=10**9,
        limits=admin_pb2.Limits(requests_per_minute=6),
    )
    with pytest.raises(Refused, match="MODEL_DENIED"):
        await for_run(shared_router, maker.secret, allowed_models=["large"])
    made = await for_run(shared_router, maker.secret, lifetime_seconds=86_400)
    assert (list(made.key.allowed_models), made.key.expires_at_ms) == (["small"], ends)
    assert made.key.max_request_nanos == 10**9
    assert made.key.parent_id == maker.key.key_id
    assert await outcome(shared_router, made.secret, model="large") == "MODEL_DENIED"
    # Making the two keys took two of the maker's six requests, as what it does counts like what its runs do.
    results = [await outcome(shared_router, made.secret) for _ in range(4)]
    assert results.count("OK") + 2 == 6
    assert await outcome(shared_router, maker.secret) == "RATE_LIMITED"
    spender = await make(shared_router, scopes=["spend", "keys"])
    with pytest.raises(Refused, match="SCOPE_DENIED"):
        await for_run(shared_router, spender.secret)


async def test_a_runs_spend_is_its_makers(shared_router: RouterProcess) -> None:
    maker = await make(shared_router, role="developer", budget_nanos=60_000)
    made = await for_run(shared_router, maker.secret, budget_nanos=10**9)
    small = {"prompt": "hi", "max_output_tokens": 16}
    assert await outcome(shared_router, made.secret, **small) == "OK"
    results = [await outcome(shared_router, made.secret, **small) for _ in range(40)]
    assert results[-1] == "BUDGET_EXHAUSTED"
    assert await outcome(shared_router, maker.secret, **small) == "BUDGET_EXHAUSTED"
    poor = await for_run(shared_router, shared_router.key, budget_nanos=1)
    assert await outcome(shared_router, poor.secret, **small) == "BUDGET_EXHAUSTED"


async def test_a_runs_key_goes_with_its_maker(shared_router: RouterProcess) -> None:
    maker = await make(shared_router, role="developer")
    made = await for_run(shared_router, maker.secret)
    assert await outcome(shared_router, made.secret) == "OK"
    await revoke(shared_router, maker.key.key_id)
    assert await outcome(shared_router, made.secret) == "KEY_INVALID"


@pytest.mark.parametrize(
    "fields",
    [
        {"run_id": ""},
        {"run_id": "a b"},
        {"lifetime_seconds": -1},
        {"lifetime_seconds": 8 * 86_400},
        {"budget_nanos": -1},
    ],
)
async def test_invalid_fields_of_a_runs_key_are_refused(shared_router: RouterProcess, fields: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        await for_run(shared_router, shared_router.key, **fields)


async def test_routes_and_users_have_bounds_of_their_own(shared_router: RouterProcess) -> None:
    made = await make(
        shared_router,
        route_limits=[
            admin_pb2.RouteLimits(route="GenerationService/*", limits=admin_pb2.Limits(requests_per_minute=3))
        ],
        user_limits=admin_pb2.Limits(requests_per_minute=2),
    )
    assert made.key.route_limits[0].limits.requests_per_minute == 3
    anu, ravi = {"x_enginehouse_user_id": "anu"}, {"x_enginehouse_user_id": "ravi"}
    results = [await outcome(shared_router, made.secret, headers=who) for who in (anu, anu, anu, ravi, ravi)]
    assert results == ["OK", "OK", "RATE_LIMITED", "OK", "RATE_LIMITED"]
    chat = await shared_router.openai(
        made.secret, "CreateChatCompletion", {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert chat.status_code == 200, "another service is another route"
    for routes in (["Generate"], ["A/*", "A/*"], ["a.b.C/D"]):
        with pytest.raises(Refused, match="INVALID_REQUEST"):
            await make(shared_router, route_limits=[admin_pb2.RouteLimits(route=route) for route in routes])


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("GeneratonService/*", "did you mean 'GenerationService'?; known: AdminService, "),
        ("Nothing/Generate", "unknown service 'Nothing'; known: AdminService, "),
        ("UsageService/Report", "unknown service 'UsageService'"),
        ("GenerationService/Genrate", "has no method 'Genrate'; did you mean 'Generate'?; it has: Generate"),
    ],
)
async def test_a_limit_of_a_route_that_nothing_serves_is_refused(
    shared_router: RouterProcess, route: str, told: str
) -> None:
    with pytest.raises(Refused, match="INVALID_REQUEST") as refused:
        await make(shared_router, route_limits=[admin_pb2.RouteLimits(route=route)])
    assert told in refused.value.error.message


_TENANT = Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0)


def _index(hasher: KeyHasher) -> KeyIndex:
    index = KeyIndex(store=KeyStore(database=None), hasher=hasher, clock=lambda: 0)  # type: ignore[arg-type]
    index.loaded = True
    return index


def _key(hasher: KeyHasher, secret: str, **fields: Any) -> Key:
    values: dict[str, Any] = {
        "key_id": new_id("key"),
        "tenant_id": _TENANT.tenant_id,
        "name": "k",
        "digest": hasher.digest(secret),
        "hint": secret[:9],
        "scopes": ("inference",),
        "allowed_models": (),
        "requests_per_minute": 0,
        "tokens_per_minute": 0,
        "concurrency": 0,
        "created_at_ms": 0,
        "expires_at_ms": 0,
        "revoked_at_ms": 0,
    }
    return Key(**(values | fields))


def _steps(index: KeyIndex, secret: str) -> tuple[list[tuple[str, int]], object]:
    """Every line that a lookup runs, in order, and what it finds."""
    steps: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            steps.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    # A collection in the middle would run lines of its own.
    gc.disable()
    sys.settrace(trace)
    try:
        found = index.authenticate(secret, now_ms=1_000)
    finally:
        sys.settrace(before)
        gc.enable()
    return steps, found


@pytest.mark.parametrize("old", [(), (b"o" * 32, b"q" * 32)])
def test_a_lookup_does_the_same_whatever_the_key_is(old: Sequence[bytes]) -> None:
    hasher = KeyHasher(pepper=b"p" * 32, old=old)
    index = _index(hasher)
    known, expired, revoked, rotated = (new_secret() for _ in range(4))
    index.put(_key(hasher, known), _TENANT)
    index.put(_key(hasher, expired, expires_at_ms=999), _TENANT)
    gone = _key(hasher, revoked)
    index.put(gone, _TENANT)
    index.drop(gone.key_id)
    index.put(_key(hasher, new_secret(), previous_digest=hasher.digest(rotated), previous_until_ms=999), _TENANT)
    reference, found = _steps(index, new_secret())
    assert found is None
    assert len(reference) > 10
    for secret in (expired, revoked, rotated, "eh_", "eh_" + "x" * 43):
        assert _steps(index, secret) == (reference, None)
    steps, found = _steps(index, known)
    assert found is not None
    hashes = [step for step in steps if step[0] == "_hash"]
    assert hashes == [step for step in reference if step[0] == "_hash"], "a good key is not hashed less often"


async def test_keys_move_to_a_new_pepper_as_they_are_used(database: AsyncEngine) -> None:
    store = KeyStore(database=database)
    await store.insert_tenant(_TENANT)
    before = KeyHasher(pepper=b"o" * 32)
    used, idle = new_secret(), new_secret()
    for secret in (used, idle):
        await store.insert_key(_key(before, secret))
    hasher = KeyHasher(pepper=b"p" * 32, old=[b"o" * 32])
    index = KeyIndex(store=store, hasher=hasher, clock=lambda: 1_000)
    await index.reload()
    assert index.authenticate(used, now_ms=1_000) is not None
    await index.rehash()
    without = KeyIndex(store=store, hasher=KeyHasher(pepper=b"p" * 32), clock=lambda: 1_000)
    await without.reload()
    assert without.authenticate(used, now_ms=1_000) is not None
    assert without.authenticate(idle, now_ms=1_000) is None, "it was never used with both peppers in place"
    assert before.seal_keys[0] in hasher.seal_keys

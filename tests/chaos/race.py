"""Thousands of concurrent requests against one small budget, while routers, engines and PostgreSQL are killed.

    python -m tests.chaos.race                     # 2,000 requests, 4 routers, 2 engines
    python -m tests.chaos.race --requests 200 --kills 4

The database is sampled continuously: a window never has settled and leased more than its limit. At the end, every
request that an engine served is settled once, at the cost that its caller was told, and nothing is leased any more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.kit.errors import Reason, from_rpc_error
from enginehouse.router.database import DatabaseUnavailable, open_database, translate_db_errors
from tests.mesh import Mesh

ROUTERS, ENGINES = 4, 2
REQUEST = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=8)
# A router may still be told that its registration ran out, and an engine's last word takes its accept window of 30 s.
REST_S = 150.0
_SAMPLE_S = 0.05
# From a request's end to its bound being free again: the report's batch, its transaction, and the news of it.
_SETTLES_S = 0.3


@dataclasses.dataclass(frozen=True)
class Sample:
    """The budget at one moment. `running` is held for requests of living routers, `orphaned` by routers that died."""

    at: float
    limit: int
    settled: int
    leased: int
    used: int
    remaining: int
    running: int
    orphaned: int


@dataclasses.dataclass
class Report:
    """The results of a race; amounts are nano-dollars.

    Attributes:
        completed: what callers were told that their requests cost, by request id.
        refused: what requests that were refused for want of budget had needed, by request id.
        retried: attempts that came to nothing before their first message, such as ENGINE_BUSY or UNAVAILABLE.
        cut: streams that a kill cut off.
        gave_up: requests that nobody served or refused in time.
        killed: what was killed, in order.
        samples: the budget, all the while.
        false_refusals: refused although the budget would have paid: it had neither spent the money, nor held it for
            running requests. Of these, `false_while_held` were while routers that had died held enough of it.
        unspent: what the budget had left when, at rest, it refused the next request, of which the cap is `cap`.
        outages: how often the database did not answer the sampler.
    """

    completed: dict[str, int] = dataclasses.field(default_factory=dict)
    refused: dict[str, int] = dataclasses.field(default_factory=dict)
    retried: int = 0
    cut: int = 0
    gave_up: int = 0
    killed: list[str] = dataclasses.field(default_factory=list)
    samples: list[Sample] = dataclasses.field(default_factory=list)
    false_refusals: int = 0
    false_while_held: int = 0
    limit: int = 0
    settled: int = 0
    usage_rows: int = 0
    unspent: int = 0
    cap: int = 0
    outages: int = 0
    load_s: float = 0.0
    rest_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        """For printing."""
        return {
            "completed": len(self.completed),
            "refused": len(self.refused),
            "cut": self.cut,
            "gave_up": self.gave_up,
            "retried": self.retried,
            "killed": self.killed,
            "limit_nanos": self.limit,
            "settled_nanos": self.settled,
            "overspend_nanos": max(0, self.settled - self.limit),
            "max_settled_and_leased_nanos": max(sample.settled + sample.leased for sample in self.samples),
            "usage_rows": self.usage_rows,
            "false_refusals": self.false_refusals,
            "false_refusals_while_dead_routers_held_the_money": self.false_while_held,
            "unspent_at_the_last_refusal_nanos": self.unspent,
            "cap_nanos": self.cap,
            "samples": len(self.samples),
            "seconds_of_load": round(self.load_s, 1),
            "seconds_to_rest": round(self.rest_s, 1),
        }


class Race:
    """One race on a running mesh."""

    def __init__(self, mesh: Mesh, *, requests: int, kills: int, paid_for: int, seed: int) -> None:
        self._mesh = mesh
        self._requests = requests
        self._kills = kills
        self._paid_for = paid_for
        self._dice = random.Random(seed)
        self._report = Report()
        password = (mesh.data / "secrets" / "database-password").read_text().strip()
        self._url = f"postgresql://enginehouse:{password}@/enginehouse?host={mesh.data / 'run' / 'pg'}"
        self._database = open_database(self._url, pool_size=3)
        self._budget_id = ""
        self._over = threading.Event()
        self._problem = ""

    async def run(self) -> Report:
        """Run the race. Raises AssertionError if a rule is broken."""
        report = self._report
        cost = await self._one_cost()
        key_id, key = self._mesh.create_key("race", budget_nanos=cost * self._paid_for)
        rows = await self._read("SELECT budget_id, limit_nanos FROM budgets WHERE scope_id = :key", key=key_id)
        self._budget_id, report.limit = rows[0].budget_id, rows[0].limit_nanos
        sampler = threading.Thread(target=lambda: asyncio.run(self._sample()), name="sampler")
        sampler.start()
        began = time.monotonic()
        try:
            killer = asyncio.create_task(self._kill())
            async with self._stub() as stub:
                await asyncio.gather(*(self._ask(stub, key, f"race-{n}") for n in range(self._requests)))
            await killer
            report.load_s = time.monotonic() - began
            await self._rest()
            report.rest_s = time.monotonic() - began - report.load_s
            self._count_false_refusals()
            await self._spend_the_rest(key)
            await self._rest()
            await self._verify()
        finally:
            self._over.set()
            await asyncio.to_thread(sampler.join)
            await self._database.dispose()
        assert not self._problem, self._problem
        return report

    @contextlib.asynccontextmanager
    async def _stub(self) -> AsyncIterator[generation_pb2_grpc.GenerationServiceAsyncStub]:
        async with grpc.aio.insecure_channel(self._mesh.target) as channel:
            yield generation_pb2_grpc.GenerationServiceStub(channel)

    async def _one_cost(self) -> int:
        async with self._stub() as stub:
            metadata = (("authorization", f"Bearer {self._mesh.key}"),)
            async for message in stub.Generate(REQUEST, metadata=metadata, timeout=30):
                if message.HasField("summary"):
                    return int(message.summary.usage.cost_nanos)
        raise AssertionError("the first request told no cost")

    async def _ask(self, stub: generation_pb2_grpc.GenerationServiceAsyncStub, key: str, name: str) -> None:
        """One request, until it is served, cut off or refused for good. Each attempt has an id of its own."""
        deadline = time.monotonic() + 120
        attempt = 0
        while time.monotonic() < deadline:
            attempt += 1
            request_id, begun = f"{name}-{attempt}", False
            metadata = (("authorization", f"Bearer {key}"), ("x-enginehouse-request-id", request_id))
            try:
                async for message in stub.Generate(REQUEST, metadata=metadata, timeout=60):
                    begun = True
                    if message.HasField("summary"):
                        self._report.completed[request_id] = int(message.summary.usage.cost_nanos)
                return
            except grpc.aio.AioRpcError as error:
                if begun:
                    self._report.cut += 1
                    return
                told = from_rpc_error(error)
                if told is not None and told.reason is Reason.BUDGET_EXHAUSTED:
                    self._report.refused[request_id] = int(told.metadata["needed_nanos"])
                    return
                self._report.retried += 1
                await asyncio.sleep(self._dice.uniform(0.05, 0.5) * min(attempt, 8))
        self._report.gave_up += 1

    async def _kill(self) -> None:
        """Kill processes at random, with pauses in which they may come back."""
        names = [f"router-{n}" for n in range(1, ROUTERS + 1)] + [f"inference-{n}" for n in range(1, ENGINES + 1)]
        for number in range(self._kills):
            # PostgreSQL once in every race, and engines and routers in turn by chance.
            name = "postgres" if number == self._kills // 2 else self._dice.choice(names)
            process = (await asyncio.to_thread(self._mesh.processes)).get(name)
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                # SIGQUIT ends PostgreSQL as a crash does: nothing is written back, it recovers from its log.
                os.kill(process, signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
            self._report.killed.append(name)
            await asyncio.sleep(self._dice.uniform(0.5, 2.5))

    async def _sample(self) -> None:
        """Sample the budget continuously, in a thread of its own: the callers' loop is busy."""
        database = open_database(self._url, pool_size=3)
        while not self._over.is_set() and not self._problem:
            try:
                with translate_db_errors():
                    one = await self._look(database)
            except DatabaseUnavailable:
                self._report.outages += 1
                one = None
            if one is not None:
                self._report.samples.append(one)
                if one.settled + one.leased > one.limit or (one.settled, one.leased) != (one.used, one.remaining):
                    self._problem = f"the books do not agree: {one}"
            await asyncio.sleep(_SAMPLE_S)
        await database.dispose()

    async def _look(self, database: AsyncEngine | None = None) -> Sample | None:
        rows = await self._read(
            """
            SELECT extract(epoch FROM clock_timestamp())::float8 AS at, w.limit_nanos, w.settled_nanos, w.leased_nanos,
              (SELECT coalesce(sum(u.cost_nanos), 0) FROM usage u
               JOIN budgets b ON b.scope_id = u.key_id WHERE b.budget_id = w.budget_id)::bigint AS used,
              (SELECT coalesce(sum(l.remaining_nanos), 0) FROM leases l
               WHERE l.budget_id = w.budget_id)::bigint AS remaining,
              (SELECT coalesce(sum(r.cap_nanos), 0) FROM reservations r JOIN replicas p USING (replica_id)
               WHERE r.state = 'open' AND p.state = 'live')::bigint AS running,
              (SELECT coalesce(sum(l.remaining_nanos), 0) FROM leases l JOIN replicas p USING (replica_id)
               WHERE l.budget_id = w.budget_id AND p.state <> 'live')::bigint AS orphaned
            FROM budget_windows w WHERE w.budget_id = :budget
            """,
            database=database,
            budget=self._budget_id,
        )
        if not rows:
            return None
        row = rows[0]
        return Sample(
            row.at,
            row.limit_nanos,
            row.settled_nanos,
            row.leased_nanos,
            row.used,
            row.remaining,
            row.running,
            row.orphaned,
        )

    async def _rest(self) -> None:
        """Until nothing is held or outstanding: engines have reported, dead routers' leases are released."""
        deadline = time.monotonic() + REST_S
        while True:
            try:
                with translate_db_errors():
                    sample = await self._look()
                    waiting = await self._read("SELECT count(*) AS count FROM reservations WHERE state = 'open'")
                if sample is not None and sample.leased == 0 and waiting[0].count == 0:
                    return
            except DatabaseUnavailable:
                sample = None
            assert time.monotonic() < deadline, f"still held at rest: {sample}"
            await asyncio.sleep(0.2)

    def _count_false_refusals(self) -> None:
        report = self._report
        report.cap = max(report.refused.values(), default=0)
        times = request_times(self._mesh)
        served = [times[name] for name in report.completed if name in times]
        for name, needed in report.refused.items():
            _, at = times.get(name, (0.0, 0.0))
            before = [sample for sample in report.samples if sample.at <= at]
            if not before:
                continue
            # The journal tells of reservations late; what was served held its bound from its start to its settlement.
            running = sum(began <= at <= ended + _SETTLES_S for began, ended in served) * needed
            idle = before[-1].limit - before[-1].settled - running
            if idle >= needed:
                report.false_refusals += 1
                report.false_while_held += idle - before[-1].orphaned < needed

    async def _spend_the_rest(self, key: str) -> None:
        """With everything healthy and nothing running, a budget pays for the next request while it has its cap left,
        wherever the money lies.
        """
        report = self._report
        number = 0
        async with self._stub() as stub:
            while True:
                refused = len(report.refused)
                while len(report.refused) == refused:
                    number += 1
                    await self._ask(stub, key, f"rest-{number}")
                needed = next(reversed(report.refused.values()))
                # What the requests before had reserved was not all settled yet.
                await self._rest()
                sample = await self._look()
                assert sample is not None
                report.unspent, report.cap = sample.limit - sample.settled, needed
                if report.unspent < needed:
                    return
                number += 1
                refused = len(report.refused)
                await self._ask(stub, key, f"rest-{number}")
                assert len(report.refused) == refused, (
                    f"refused {needed} with {report.unspent} unspent and none running"
                )

    async def _verify(self) -> None:
        report = self._report
        sample = await self._look()
        assert sample is not None
        report.settled = sample.settled
        assert sample.settled == sample.used <= sample.limit
        assert sample.leased == 0
        rows = await self._read(
            "SELECT u.grant_id, u.request_id, u.kind, u.engine_id, u.cost_nanos, u.unbilled_nanos, r.billed_nanos,"
            " r.state"
            " FROM usage u JOIN reservations r USING (grant_id) JOIN budgets b ON b.scope_id = u.key_id"
            " WHERE b.budget_id = :budget",
            budget=self._budget_id,
        )
        report.usage_rows = len(rows)
        billed: dict[str, int] = {}
        by_request: dict[str, list[int]] = {}
        for row in rows:
            billed[row.grant_id] = billed.get(row.grant_id, 0) + row.cost_nanos
            assert row.unbilled_nanos == 0, f"served and billed to nobody: {row}"
            assert row.state == "settled", row
            if row.cost_nanos or row.kind != "report":
                by_request.setdefault(row.request_id, []).append(row.cost_nanos)
        for row in rows:
            assert billed[row.grant_id] == row.billed_nanos, row
        for request_id, cost in report.completed.items():
            assert by_request.get(request_id) == [cost], (
                f"{request_id} told {cost}, billed {by_request.get(request_id)}"
            )
        assert not report.gave_up, f"{report.gave_up} requests were neither served nor refused"

    async def _read(self, query: str, *, database: AsyncEngine | None = None, **values: Any) -> list[Any]:
        async with (database or self._database).connect() as connection:
            return list((await connection.execute(sa.text(query), values)).all())


def request_times(mesh: Mesh) -> dict[str, tuple[float, float]]:
    """When Envoy had begun and ended each request, in seconds since 1970: callers that are many learn of it late."""
    times = {}
    for path in sorted(mesh.data.glob("logs/envoy.log*")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{") and '"request_id"' in line:
                entry = json.loads(line)
                began = datetime.datetime.fromisoformat(entry["ts"]).timestamp()
                times[entry["request_id"]] = (began, began + entry["duration_ms"] / 1000)
    return times


def config() -> dict[str, Any]:
    """The mesh that races run on."""
    return {
        "local": {"router_replicas": ROUTERS, "engines": {"inference": ENGINES}},
        "router": {"database_pool": 4},
        "inference": {"queue_per_model": 1000},
    }


def main() -> int:
    """Run a race of any size and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--paid-for", type=int, default=300, help="for how many requests the budget suffices")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with Mesh.started(config=config()) as mesh:
        race = Race(mesh, requests=given.requests, kills=given.kills, paid_for=given.paid_for, seed=given.seed)
        report = asyncio.run(race.run())
    print(json.dumps(report.figures(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The reporter against a router that fails in every way: each record is settled once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
import pytest
from prometheus_client import CollectorRegistry

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import sign
from enginehouse.kit.telemetry import ReporterMetrics
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import Spool, UsageReporter
from enginehouse.kit.usage.meter import Meter

Status: TypeAlias = "usage_pb2.ReportResponse.Status.ValueType"
SETTLED = usage_pb2.ReportResponse.STATUS_SETTLED
ALREADY = usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED
REJECTED = usage_pb2.ReportResponse.STATUS_REJECTED


def spend(spool: Spool, issuer: GrantIssuer, n: int = 1) -> None:
    for _ in range(n):
        grant = issuer.grant("/a.b/C", models=["m"])
        accepted = spool.accept(grant, token=sign(grant, keys=issuer.keys), model="m")
        meter = Meter(prices={}, cap_nanos=0, counters=accepted.counters)
        meter.add(UNIT_OUTPUT_TOKENS, 3)
        meter.close()
        spool.finish(accepted, meter=meter, outcome=usage_pb2.OUTCOME_COMPLETED, first_output_ms=1)


@pytest.fixture
async def report(open_spool: Callable[..., Spool]) -> AsyncIterator[Callable[..., tuple[Spool, UsageReporter]]]:
    """Open the spool and report from it."""
    made: list[tuple[Spool, UsageReporter]] = []

    def start(router_address: str, **options: Any) -> tuple[Spool, UsageReporter]:
        spool = open_spool()
        reporter = UsageReporter(
            spool=spool, router_address=router_address, watermark_s=0.1, sync_s=0.05, backoff_s=0.1, **options
        )
        reporter.start()
        made.append((spool, reporter))
        return made[-1]

    yield start
    for spool, reporter in made:
        await reporter.close()
        spool.close()


async def free_port(serve: Any) -> str:
    server, address = await serve()
    await server.drain()
    return str(address)


@pytest.mark.parametrize("batches", [True, False])
async def test_records_are_settled_and_forgotten(serve: Any, report: Any, issuer: GrantIssuer, batches: bool) -> None:
    recorder = UsageRecorder(keys=issuer.keys, batches=batches)
    _, router = await serve(recorder.add_to)
    spool, reporter = report(str(router))
    for _ in range(3):
        spend(spool, issuer, 40)
        assert await reporter.flush(timeout_s=10)
    assert not spool.pending
    assert len(recorder.received) == len(recorder.settled) == 120
    assert reporter.connected


async def test_watermarks_promise_no_more_than_can_be_kept(serve: Any, report: Any, issuer: GrantIssuer) -> None:
    recorder = UsageRecorder(answer=lambda record: None)
    _, router = await serve(recorder.add_to)
    spool, _ = report(str(router))
    grant = issuer.grant("/a.b/C", issued_ago_s=20)
    spool.accept(grant, token=sign(grant, keys=issuer.keys), model="")
    await recorder.wait_until(lambda r: len(r.watermarks) >= 4)
    for watermark in recorder.watermarks[1:]:
        assert watermark.engine_id == "engine-test"
        assert watermark.issued_before_ms <= grant.issued_at_ms
        assert watermark.issued_before_ms <= watermark.engine_time_ms - 30_000


async def test_a_router_that_is_away_is_waited_for(serve: Any, report: Any, issuer: GrantIssuer) -> None:
    address = await free_port(serve)
    spool, reporter = report(address)
    spend(spool, issuer, 5)
    assert not await reporter.flush(timeout_s=0.2)
    recorder = UsageRecorder(keys=issuer.keys)
    await serve(recorder.add_to, listen=address)
    assert await reporter.flush(timeout_s=10)
    assert len(recorder.settled) == 5


async def test_another_router_takes_over(serve: Any, report: Any, issuer: GrantIssuer) -> None:
    recorder = UsageRecorder(keys=issuer.keys)
    _, second = await serve(recorder.add_to)
    spool, reporter = report(f"{await free_port(serve)}, {second}")
    spend(spool, issuer, 3)
    assert await reporter.flush(timeout_s=10)
    assert len(recorder.settled) == 3


async def test_a_rejected_record_is_dropped_and_counted(
    serve: Any, report: Any, issuer: GrantIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = UsageRecorder(answer=lambda record: REJECTED)
    _, router = await serve(recorder.add_to)
    registry = CollectorRegistry()
    spool, reporter = report(str(router), metrics=ReporterMetrics(registry))
    spend(spool, issuer)
    assert await reporter.flush(timeout_s=10)
    assert len(recorder.received) == 1
    assert "dropping a usage record that the router rejects" in caplog.text
    assert registry.get_sample_value("enginehouse_usage_records_total", {"status": "rejected"}) == 1
    assert registry.get_sample_value("enginehouse_usage_pending") == 0


class FlakyRouter(UsageRecorder):
    """A router that ends streams at random, before or after it settles, and omits answers."""

    def __init__(self, keys: Any, seed: int) -> None:
        super().__init__(keys=keys, answer=self._flaky)
        self._random = random.Random(seed)
        self.well = False

    def _flaky(self, record: usage_pb2.UsageRecord) -> Status | None:
        chance = 1.0 if self.well else self._random.random()
        if chance < 0.1:
            raise RuntimeError("the router dies before it settles")
        known = record.grant in self.settled
        self.settled.setdefault(record.grant, record)
        if chance < 0.2:
            raise RuntimeError("the router dies after it has settled")
        if chance < 0.3:
            return None
        return ALREADY if known else SETTLED


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_flaky_router_settles_each_record_once(serve: Any, report: Any, issuer: GrantIssuer, seed: int) -> None:
    recorder = FlakyRouter(issuer.keys, seed)
    server, router = await serve(recorder.add_to)
    spool, reporter = report(str(router))
    for _ in range(10):
        spend(spool, issuer, 10)
        await asyncio.sleep(0.03)
    expected = {usage_pb2.UsageRecord.FromString(record).grant for record in spool.pending.values()}
    expected |= set(recorder.settled)
    # The router is killed, and another comes up at its address with what had been committed.
    await server.drain()
    recorder.well = True
    await serve(recorder.add_to, listen=str(router))
    assert await reporter.flush(timeout_s=20)
    assert set(recorder.settled) == expected
    assert len(expected) == 100


async def test_a_stream_that_is_refused_unread_leaves_nothing_behind(serve: Any) -> None:
    class Refusing(UsageRecorder):
        def Report(self, requests: Any, context: Any) -> Any:
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, "not now")

    _, router = await serve(Refusing().add_to)
    async with grpc.aio.insecure_channel(str(router)) as channel:
        call = usage_pb2_grpc.UsageServiceStub(channel).Report(iter([usage_pb2.ReportRequest()]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    # What the runtime had begun and nobody read warns when it is collected, and a warning fails this test.
    gc.collect()


async def test_what_waits_is_reported_by_the_next_process(
    serve: Any, report: Any, issuer: GrantIssuer, open_spool: Callable[..., Spool]
) -> None:
    spool = open_spool()
    spend(spool, issuer, 4)
    spool.close()
    recorder = UsageRecorder(keys=issuer.keys)
    _, router = await serve(recorder.add_to)
    spool, reporter = report(str(router))
    assert await reporter.flush(timeout_s=10)
    assert len(recorder.settled) == 4

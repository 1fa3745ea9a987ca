"""Reporting of usage to a router, repeatedly until the router has settled it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import grpc

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.addresses import parse_addresses
from enginehouse.kit.errors import from_rpc_error
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.kit.telemetry import ReporterMetrics
from enginehouse.kit.usage._spool import Spool
from enginehouse.kit.usage._wire import embedded

_ReportCall: TypeAlias = "grpc.aio.StreamStreamCall[bytes, usage_pb2.ReportResponse]"

_log = logging.getLogger(__name__)

_CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_SILENCE_S = 10.0
# One message costs as much as ten records in it: after a message, records gather for this long.
_GATHER_S = 0.02
# The pause between warnings about a router that cannot be reached.
_COMPLAINT_S = 10.0
_BATCH = 256

_REPORT = "/enginehouse.api.router.v1.UsageService/Report"
_SETTLED = (usage_pb2.ReportResponse.STATUS_SETTLED, usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED)
_RECORD = usage_pb2.ReportRequest.RECORD_FIELD_NUMBER
_BATCH_FIELD = usage_pb2.ReportRequest.BATCH_FIELD_NUMBER
_RECORDS = usage_pb2.UsageBatch.RECORDS_FIELD_NUMBER


class UsageReporter:
    """The stream of pending records to `UsageService.Report`, at least once each, with a watermark every second.

    A single record is sent at once, many are sent together, in about fifty messages a second. A stream that fails is
    opened again with backoff, at the next address if there are several, and everything unacknowledged is sent again.
    The reporter also syncs the spool to the disk, off the loop.

    Args:
        spool: has the records, and takes the acknowledgements.
        router_address: `host:port` of a router, or several separated by commas, tried in turn from a random one on, so
            that engines spread over routers.
        metrics: counts records settled, rejected and pending; None for none.
        watermark_s: seconds between watermarks.
        sync_s: seconds between syncs of the spool, whose usage a power cut (not a crash) may lose.
        backoff_s: the longest pause between attempts to connect.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        router_address: str,
        metrics: ReporterMetrics | None = None,
        watermark_s: float = 1.0,
        sync_s: float = 0.2,
        backoff_s: float = 2.0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._spool = spool
        self._targets: Sequence[str] = [str(address) for address in parse_addresses(router_address)]
        self._metrics = metrics
        self._watermark_s = watermark_s
        self._sync_s = sync_s
        self._backoff_s = backoff_s
        self._now_ms = now_ms
        self._changed = asyncio.Event()
        self._emptied = asyncio.Event()
        self._tasks = (
            BackgroundTask(self._report_for_ever, name="usage-report"),
            BackgroundTask(self._sync_for_ever, name="usage-sync"),
        )
        self._progress = False
        self.connected = False
        """True while a router answers."""

    def start(self) -> None:
        """Start to report; records of an earlier process go first."""
        self._spool.on_pending(self._changed.set)
        for task in self._tasks:
            task.start()

    async def flush(self, *, timeout_s: float) -> bool:
        """Wait until all pending records are acknowledged; return False if that took longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._spool.pending:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            _log.warning("%d usage records stay in the spool for the next start", len(self._spool.pending))
            return False
        return True

    async def close(self) -> None:
        """Stop reporting. Unacknowledged records stay in the spool."""
        for task in self._tasks:
            await task.close()
        await asyncio.to_thread(self._spool.sync)

    async def _sync_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._sync_s)
            # An idle engine has nothing to write, and asking another thread is not free.
            if not self._spool.unsynced:
                continue
            try:
                await asyncio.to_thread(self._spool.sync)
            except OSError as error:
                _log.error("cannot sync the usage spool to the disk: %s", error)

    async def _report_for_ever(self) -> None:
        failures = 0
        attempt = random.randrange(len(self._targets))
        next_complaint = 0.0
        while True:
            target = self._targets[attempt % len(self._targets)]
            attempt += 1
            asked_s = 0.0
            self._progress = False
            try:
                async with grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS) as channel:
                    await self._exchange(channel)
                reason = "the router ended the stream"
            except grpc.aio.AioRpcError as error:
                reason = f"{error.code().name}: {error.details()}"
                told = from_rpc_error(error)
                asked_s = (told.retry_after_s if told is not None else None) or 0.0
            except TimeoutError:
                reason = f"no answer for {_SILENCE_S:g} s"
            except Exception:
                _log.exception("reporting usage failed; trying again")
                reason = "a defect, see above"
            self.connected = False
            if self._progress:
                failures = 0
            if time.monotonic() >= next_complaint:
                next_complaint = time.monotonic() + _COMPLAINT_S
                _log.warning(
                    "cannot report usage to %s (%s); %d records wait", target, reason, len(self._spool.pending)
                )
            pause = min(self._backoff_s, max(asked_s, 0.05 * 2 ** min(failures, 10)))
            failures += 1
            # Jitter spreads engines that lost the same router.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _exchange(self, channel: grpc.aio.Channel) -> None:
        """Run one stream, until the router ends it or falls silent."""
        stream = _Stream()
        # The records are serialised already; a stub would have them parsed to serialise them again.
        report: grpc.aio.StreamStreamMultiCallable[bytes, usage_pb2.ReportResponse] = channel.stream_stream(
            _REPORT, response_deserializer=usage_pb2.ReportResponse.FromString
        )
        call: _ReportCall = report()
        sender = asyncio.create_task(self._send(call, stream), name="usage-send")
        loop = asyncio.get_running_loop()
        silence = _SILENCE_S + self._watermark_s
        try:
            # A router answers each second's watermark, so silence means that it hangs.
            async with asyncio.timeout(silence) as watch:
                async for response in call:
                    watch.reschedule(loop.time() + silence)
                    self.connected = True
                    stream.takes_batches = stream.takes_batches or response.takes_batches
                    self._acknowledge((response, *response.more), stream)
        finally:
            sender.cancel()
            call.cancel()
            (ended,) = await asyncio.gather(sender, return_exceptions=True)
            if isinstance(ended, Exception) and not isinstance(ended, grpc.RpcError | asyncio.InvalidStateError):
                _log.error("sending usage failed", exc_info=ended)

    async def _send(self, call: _ReportCall, stream: _Stream) -> None:
        next_watermark = last_sent = 0.0
        while True:
            self._changed.clear()
            unsent = [reference for reference in self._spool.pending if reference not in stream.sent]
            most = _BATCH if stream.takes_batches else 1
            for start in range(0, len(unsent), most):
                request = self._report(unsent[start : start + most], stream)
                if request is not None:
                    await call.write(request)
                    last_sent = time.monotonic()
            now = time.monotonic()
            if now >= next_watermark:
                next_watermark = now + self._watermark_s
                self._spool.sweep()
                watermark = usage_pb2.Watermark(
                    engine_id=self._spool.engine_id,
                    issued_before_ms=self._spool.watermark_ms(),
                    engine_time_ms=self._now_ms(),
                )
                told = usage_pb2.ReportRequest(sequence=stream.number(), watermark=watermark)
                await call.write(told.SerializeToString())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_watermark - time.monotonic())):
                    await self._changed.wait()
                    await asyncio.sleep(max(0.0, last_sent + _GATHER_S - time.monotonic()))

    def _report(self, references: Sequence[int], stream: _Stream) -> bytes | None:
        """Return the serialised `ReportRequest` of the records that are still pending; None if none is."""
        pending = self._spool.pending
        found = [(reference, pending[reference]) for reference in references if reference in pending]
        if not found:
            return None
        head = usage_pb2.ReportRequest(sequence=stream.next_number).SerializeToString()
        for reference, _ in found:
            stream.in_flight[stream.number()] = reference
            stream.sent.add(reference)
        if len(found) == 1:
            return head + embedded(_RECORD, found[0][1])
        records = b"".join([embedded(_RECORDS, record) for _, record in found])
        return head + embedded(_BATCH_FIELD, records)

    def _acknowledge(self, responses: Sequence[usage_pb2.ReportResponse], stream: _Stream) -> None:
        done: list[int] = []
        counts: Counter[usage_pb2.ReportResponse.Status.ValueType] = Counter()
        for response in responses:
            reference = stream.in_flight.pop(response.sequence, None)
            if reference is None:
                # The answer to a watermark.
                continue
            status = response.status
            if status == usage_pb2.ReportResponse.STATUS_REJECTED:
                record = usage_pb2.UsageRecord.FromString(self._spool.pending[reference])
                _log.error(
                    "dropping a usage record that the router rejects: %s (cost %d nano-dollars, started at %d)",
                    response.reason or "no reason given",
                    record.usage.cost_nanos,
                    record.started_at_ms,
                )
            elif status not in _SETTLED:
                _log.error("unknown status %d for a usage record; sending it again on the next stream", status)
                continue
            done.append(reference)
            counts[status] += 1
        if not done:
            return
        self._spool.settled(done)
        self._progress = True
        stream.sent.difference_update(done)
        if self._metrics is not None:
            for status, count in counts.items():
                name = usage_pb2.ReportResponse.Status.Name(status)
                self._metrics.acknowledged(name, count, len(self._spool.pending))
        if not self._spool.pending:
            self._emptied.set()


class _Stream:
    """The records that one stream has sent and that are not acknowledged yet."""

    def __init__(self) -> None:
        self.in_flight: dict[int, int] = {}
        self.sent: set[int] = set()
        self.takes_batches = False
        self.next_number = 1

    def number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

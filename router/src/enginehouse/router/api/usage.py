"""UsageService: engines report what they spent, and are told when it is settled."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc

from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.tasks import TaskSet
from enginehouse.kit.validation import is_printable
from enginehouse.router.admission.extension import GrantExtender
from enginehouse.router.api._report_stream import ReportStream
from enginehouse.router.clock import Clock
from enginehouse.router.ledger import (
    MAX_TIME_MS,
    Ledger,
    LedgerUnavailable,
    Unsettleable,
    UsageReportParser,
    Verdict,
    Watermark,
)
from enginehouse.router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

_Status = usage_pb2.ReportResponse.Status
_VERDICTS = {
    Verdict.SETTLED: _Status.STATUS_SETTLED,
    Verdict.ALREADY: _Status.STATUS_ALREADY_SETTLED,
    Verdict.REFUSED: _Status.STATUS_SETTLED,
}


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """Serves `Report` and `Extend`. Any number of records settle at once, and are acknowledged as they commit.

    Args:
        reader: turns records into claims.
        ledger: settles them.
        metrics: counts them.
        clock: milliseconds since 1970 UTC.
        skew_s: how far an engine's clock may be off.
        begun: whether the router has read its tables.
        extender: reserves more for running requests.
    """

    def __init__(
        self,
        *,
        reader: UsageReportParser,
        ledger: Ledger,
        metrics: RouterMetrics,
        clock: Clock,
        skew_s: float,
        begun: Callable[[], bool],
        extender: GrantExtender,
    ) -> None:
        self._extender = extender
        self._begun = begun
        self._reader = reader
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._skew_ms = int(skew_s * 1000)
        self._streams: set[ReportStream] = set()
        self._closed = False

    def close(self) -> None:
        """End every stream, so that engines go to another replica; what is in flight is settled or sent again."""
        self._closed = True
        for stream in self._streams:
            stream.end()

    async def Report(
        self, request_iterator: AsyncIterator[usage_pb2.ReportRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[usage_pb2.ReportResponse]:
        """Read records and yield their acknowledgements. Raises LEDGER_UNAVAILABLE when nothing can be settled."""
        if not self._begun():
            # The tables may not be there yet.
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, "the router is starting; report again", retry_after_s=0.2)
        stream = ReportStream()
        if self._closed:
            stream.end()
        self._streams.add(stream)
        tasks = TaskSet()
        tasks.spawn(self._read(request_iterator, stream, tasks), name="usage-read")
        try:
            async for response in stream:
                yield response
        except LedgerUnavailable as error:
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, f"{error}; report again", retry_after_s=1.0) from error
        finally:
            self._streams.discard(stream)
            await tasks.close()

    async def Extend(
        self, request: usage_pb2.ExtendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> usage_pb2.ExtendResponse:
        """Reserve more for a request that is being served; see the contract."""
        timeout_s = context.time_remaining()
        grant = await self._extender.extend(request, timeout_s=math.inf if timeout_s is None else timeout_s)
        return usage_pb2.ExtendResponse(grant=grant)

    async def _read(
        self, requests: AsyncIterator[usage_pb2.ReportRequest], stream: ReportStream, tasks: TaskSet
    ) -> None:
        try:
            async for request in requests:
                await stream.room()
                report = request.WhichOneof("report")
                if report == "batch":
                    self._settle(request.sequence, request.batch.records, stream)
                elif report == "record":
                    self._settle(request.sequence, (request.record,), stream)
                elif report == "watermark":
                    stream.began(1)
                    tasks.spawn(self._answer_watermark(request, stream), name="usage-watermark")
                else:
                    stream.answer(request.sequence, _Status.STATUS_REJECTED, "neither a record nor a watermark is set")
            await stream.idle()
            stream.end()
        except Exception as error:
            stream.fail(error)

    def _settle(self, first: int, records: Sequence[usage_pb2.UsageRecord], stream: ReportStream) -> None:
        """Settle the records of a message as one; the first has the sequence, each further one the next number."""
        sequences, claims = [], []
        for sequence, record in enumerate(records, start=first):
            try:
                claims.append(self._reader.read(record))
                sequences.append(sequence)
            except Unsettleable as error:
                _log.error("rejected a usage report", extra={"engine_id": record.engine_id[:64], "why": str(error)})
                self._metrics.reported("rejected", 1)
                stream.answer(sequence, _Status.STATUS_REJECTED, str(error))
        if not claims:
            return
        stream.began(len(claims))
        self._ledger.submit(claims).add_done_callback(
            lambda settled: self._acknowledge(sequences, settled, stream=stream)
        )

    def _acknowledge(
        self, sequences: Sequence[int], settled: asyncio.Future[list[Verdict]], *, stream: ReportStream
    ) -> None:
        stream.ended(len(sequences))
        if settled.cancelled():
            return
        error = settled.exception()
        if error is not None:
            stream.fail(error)
            return
        verdicts = settled.result()
        for sequence, verdict in zip(sequences, verdicts, strict=True):
            stream.answer(sequence, _VERDICTS[verdict])
        for verdict in set(verdicts):
            self._metrics.reported(verdict.value, verdicts.count(verdict))

    async def _answer_watermark(self, request: usage_pb2.ReportRequest, stream: ReportStream) -> None:
        try:
            await self._note(request.watermark)
            stream.answer(request.sequence, _Status.STATUS_NOTED)
        except Exception as error:
            stream.fail(error)
        finally:
            stream.ended(1)

    async def _note(self, watermark: usage_pb2.Watermark) -> None:
        now = self._clock()
        skew = abs(watermark.engine_time_ms - now)
        if skew > self._skew_ms:
            _log.warning(
                "an engine's clock differs from ours by more than is allowed for",
                extra={"engine_id": watermark.engine_id[:64], "milliseconds": skew},
            )
        if not 1 <= len(watermark.engine_id) <= 64 or not is_printable(watermark.engine_id):
            return
        # A mark in the future would pass grants that are not given out yet.
        await self._ledger.submit_watermark(
            Watermark(
                watermark.engine_id,
                watermark_ms=max(0, min(watermark.issued_before_ms, now)),
                engine_time_ms=min(max(0, watermark.engine_time_ms), MAX_TIME_MS),
            )
        )

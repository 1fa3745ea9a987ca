"""UsageService: engines report what they spent, and are told when it is settled."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.tasks import TaskSet
from enginehouse.kit.validation import is_printable
from enginehouse.router.admission.extension import GrantExtender
from enginehouse.router.clock import Clock
from enginehouse.router.ledger import MAX_TIME_MS, Ledger, LedgerUnavailable, Unsettleable, UsageReportParser, Verdict
from enginehouse.router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

_Status = usage_pb2.ReportResponse.Status
_MAX_IN_FLIGHT = 2048
_MAX_JOINED = 512
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
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream, so that engines go to another replica; what is in flight is settled or sent again."""
        self._closing.set()

    async def Report(
        self, request_iterator: AsyncIterator[usage_pb2.ReportRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[usage_pb2.ReportResponse]:
        """Read records and yield their acknowledgements. Raises LEDGER_UNAVAILABLE when nothing can be settled."""
        if not self._begun():
            # The tables may not be there yet.
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, "the router is starting; report again", retry_after_s=0.2)
        answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None] = asyncio.Queue()
        tasks = TaskSet()
        tasks.spawn(self._read(request_iterator, answers), name="usage-read")
        tasks.spawn(self._end(answers), name="usage-close")
        try:
            while True:
                answer = await answers.get()
                if answer is None:
                    return
                if isinstance(answer, usage_pb2.ReportResponse):
                    yield _joined(answer, answers)
                elif isinstance(answer, LedgerUnavailable):
                    raise ServiceError(Reason.LEDGER_UNAVAILABLE, f"{answer}; report again", retry_after_s=1.0)
                else:
                    raise answer
        finally:
            await tasks.close()

    async def Extend(
        self, request: usage_pb2.ExtendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> usage_pb2.ExtendResponse:
        """Reserve more for a request that is being served; see the contract."""
        timeout_s = context.time_remaining()
        grant = await self._extender.extend(request, timeout_s=math.inf if timeout_s is None else timeout_s)
        return usage_pb2.ExtendResponse(grant=grant)

    async def _end(self, answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None]) -> None:
        await self._closing.wait()
        answers.put_nowait(None)

    async def _read(
        self,
        requests: AsyncIterator[usage_pb2.ReportRequest],
        answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None],
    ) -> None:
        room = asyncio.Semaphore(_MAX_IN_FLIGHT)
        working: set[asyncio.Task[None]] = set()

        async def work(request: usage_pb2.ReportRequest) -> None:
            try:
                answers.put_nowait(await self._answer(request))
            except Exception as error:
                answers.put_nowait(error)
            finally:
                room.release()

        try:
            async for request in requests:
                for single in _singles(request):
                    await room.acquire()
                    task = asyncio.create_task(work(single))
                    working.add(task)
                    task.add_done_callback(working.discard)
            if working:
                await asyncio.wait(working)
            answers.put_nowait(None)
        except Exception as error:
            answers.put_nowait(error)

    async def _answer(self, request: usage_pb2.ReportRequest) -> usage_pb2.ReportResponse:
        if request.WhichOneof("report") == "record":
            try:
                claim = self._reader.read(request.record)
            except Unsettleable as error:
                _log.error(
                    "rejected a usage report", extra={"engine_id": request.record.engine_id[:64], "why": str(error)}
                )
                self._metrics.reported("rejected")
                return usage_pb2.ReportResponse(
                    sequence=request.sequence, status=_Status.STATUS_REJECTED, reason=str(error)
                )
            verdict = await self._ledger.settle(claim)
            self._metrics.reported(verdict.value)
            return usage_pb2.ReportResponse(sequence=request.sequence, status=_VERDICTS[verdict])
        if request.WhichOneof("report") == "watermark":
            await self._note(request.watermark)
            return usage_pb2.ReportResponse(sequence=request.sequence, status=_Status.STATUS_NOTED)
        return usage_pb2.ReportResponse(
            sequence=request.sequence, status=_Status.STATUS_REJECTED, reason="neither a record nor a watermark is set"
        )

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
        await self._ledger.note_watermark(
            watermark.engine_id,
            watermark_ms=max(0, min(watermark.issued_before_ms, now)),
            engine_time_ms=min(max(0, watermark.engine_time_ms), MAX_TIME_MS),
        )


def _singles(request: usage_pb2.ReportRequest) -> Iterable[usage_pb2.ReportRequest]:
    """A batch as requests of one record each, with the sequences that their acknowledgements carry."""
    if request.WhichOneof("report") != "batch":
        return (request,)
    return (
        usage_pb2.ReportRequest(sequence=sequence, record=record)
        for sequence, record in enumerate(request.batch.records, start=request.sequence)
    )


def _joined(
    first: usage_pb2.ReportResponse, answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None]
) -> usage_pb2.ReportResponse:
    """An answer with all that are ready besides: a message costs more than what is in it."""
    first.takes_batches = True
    while not answers.empty() and len(first.more) < _MAX_JOINED:
        answer = answers.get_nowait()
        if not isinstance(answer, usage_pb2.ReportResponse):
            # The end, or an error: it comes after what is answered already.
            answers.put_nowait(answer)
            break
        first.more.append(answer)
    return first

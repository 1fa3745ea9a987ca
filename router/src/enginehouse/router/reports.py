"""UsageService: engines report what they spent, and are told when it is settled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc

from enginehouse.api.router.v1 import grant_pb2, usage_pb2, usage_pb2_grpc
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION
from enginehouse.router.clock import Clock
from enginehouse.router.ledger import Claim, Kind, Ledger, LedgerUnavailable, Outcome, Verdict
from enginehouse.router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

_Status = usage_pb2.ReportResponse.Status
_OUTCOMES = {
    usage_pb2.OUTCOME_COMPLETED: Outcome.COMPLETED,
    usage_pb2.OUTCOME_CANCELLED: Outcome.CANCELLED,
    usage_pb2.OUTCOME_FAILED: Outcome.FAILED,
    usage_pb2.OUTCOME_CAPPED: Outcome.CAPPED,
    usage_pb2.OUTCOME_CRASHED: Outcome.CRASHED,
    usage_pb2.OUTCOME_REFUSED: Outcome.REFUSED,
}
_MOST_MS = 2**53
_MOST_IN_FLIGHT = 2048
_MOST_JOINED = 512
_VERDICTS = {
    Verdict.SETTLED: _Status.STATUS_SETTLED,
    Verdict.ALREADY: _Status.STATUS_ALREADY_SETTLED,
    Verdict.REFUSED: _Status.STATUS_SETTLED,
}


class Unsettleable(Exception):
    """A record that can never be settled; the text says why."""


class ClaimReader:
    """Turns records into claims: the grant must be ours, and the cost is computed from its prices, not taken over."""

    def __init__(self, *, grant_keys: GrantKeys, catalog: Catalog) -> None:
        self._grant_keys = grant_keys
        self._clusters = {model.name: model.cluster for model in catalog.models}

    def read(self, record: usage_pb2.UsageRecord) -> Claim:
        """The claim of a record. Raises Unsettleable."""
        try:
            grant = authenticate(record.grant, keys=self._grant_keys)
        except ServiceError as error:
            raise Unsettleable(error.message) from None
        if not grant.grant_id:
            raise Unsettleable("the grant has no id")
        if not 1 <= len(record.engine_id) <= 64 or not record.engine_id.isprintable():
            raise Unsettleable("engine_id must be 1-64 printable characters")
        outcome = _OUTCOMES.get(record.outcome)
        if outcome is None:
            raise Unsettleable(f"outcome {record.outcome} is not known")
        if min(record.started_at_ms, record.ended_at_ms, record.time_to_first_token_ms) < 0 or (
            max(record.started_at_ms, record.ended_at_ms) > _MOST_MS
        ):
            raise Unsettleable("times must be milliseconds since 1970, none negative")
        amounts: dict[int, int] = {}
        for entry in record.usage.units:
            if entry.amount < 0:
                raise Unsettleable(f"the amount of unit {entry.unit} is negative: {entry.amount}")
            if entry.unit in amounts:
                raise Unsettleable(f"unit {entry.unit} is named twice")
            amounts[entry.unit] = entry.amount
        candidate = _candidate(grant, record.model)
        cost = _cost(candidate, amounts)
        cap = candidate.cap_nanos if candidate is not None else 0
        if cost != record.usage.cost_nanos:
            _log.warning(
                "an engine counted another cost than its amounts make; ours counts",
                extra={"grant_id": grant.grant_id, "theirs_nanos": record.usage.cost_nanos, "ours_nanos": cost},
            )
        return Claim(
            kind=Kind.REPORT,
            grant=grant,
            engine_id=record.engine_id,
            model=record.model,
            service=self.service_of(grant, record.model),
            amounts=amounts,
            cost_nanos=min(cost, cap),
            over_nanos=min(MAX_NANOS, max(0, cost - cap)),
            outcome=outcome,
            started_at_ms=record.started_at_ms,
            ended_at_ms=record.ended_at_ms,
            time_to_first_token_ms=record.time_to_first_token_ms,
        )

    def service_of(self, grant: grant_pb2.Grant, model: str = "") -> str:
        """The cluster of engines that a grant is for: its model's, or what its method's package is called."""
        name = model or (grant.candidates[0].model if grant.candidates else "")
        cluster = self._clusters.get(name)
        if cluster is not None:
            return cluster
        package = grant.method.lstrip("/").partition("/")[0].split(".")
        return package[2] if len(package) > 3 else ""


def _candidate(grant: grant_pb2.Grant, model: str) -> grant_pb2.GrantCandidate | None:
    for candidate in grant.candidates:
        if candidate.model == model:
            return candidate
    if model:
        raise Unsettleable(f"the grant does not name the model {model[:128]!r}")
    return None


def _cost(candidate: grant_pb2.GrantCandidate | None, amounts: dict[int, int]) -> int:
    if candidate is None:
        return 0
    total = sum(amounts.get(price.unit, 0) * price.nanos_per_million for price in candidate.prices)
    return -(-total // PER_MILLION)


class UsageServicer(usage_pb2_grpc.UsageServiceServicer):
    """Serves `Report`. Any number of records of a stream settle at once; acknowledgements come as they commit.

    Args:
        reader: turns records into claims.
        ledger: settles them.
        metrics: counts them.
        clock: milliseconds since 1970 UTC.
        skew_s: how far an engine's clock may be off.
        begun: whether the router has read its tables.
    """

    def __init__(
        self,
        *,
        reader: ClaimReader,
        ledger: Ledger,
        metrics: RouterMetrics,
        clock: Clock,
        skew_s: float,
        begun: Callable[[], bool],
    ) -> None:
        self._begun = begun
        self._reader = reader
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._skew_ms = int(skew_s * 1000)
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends every stream, so that engines go to another replica; what is in flight is settled or sent again."""
        self._closing.set()

    async def Report(
        self, request_iterator: AsyncIterator[usage_pb2.ReportRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[usage_pb2.ReportResponse]:
        """Reads records and yields their acknowledgements. Raises LEDGER_UNAVAILABLE when nothing can be settled."""
        if not self._begun():
            # The tables may not be there yet.
            raise ServiceError(Reason.LEDGER_UNAVAILABLE, "the router is starting; report again", retry_after_s=0.2)
        answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None] = asyncio.Queue()
        reader = asyncio.create_task(self._read(request_iterator, answers), name="usage-read")
        closing = asyncio.create_task(self._closing.wait(), name="usage-close")
        closing.add_done_callback(lambda _: answers.put_nowait(None))
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
            for task in (reader, closing):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _read(
        self,
        requests: AsyncIterator[usage_pb2.ReportRequest],
        answers: asyncio.Queue[usage_pb2.ReportResponse | BaseException | None],
    ) -> None:
        room = asyncio.Semaphore(_MOST_IN_FLIGHT)
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
        if not 1 <= len(watermark.engine_id) <= 64 or not watermark.engine_id.isprintable():
            return
        # A mark in the future would pass grants that are not given out yet.
        await self._ledger.note_watermark(
            watermark.engine_id,
            watermark_ms=max(0, min(watermark.issued_before_ms, now)),
            engine_time_ms=min(max(0, watermark.engine_time_ms), _MOST_MS),
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
    while not answers.empty() and len(first.more) < _MOST_JOINED:
        answer = answers.get_nowait()
        if not isinstance(answer, usage_pb2.ReportResponse):
            # The end, or an error: it comes after what is answered already.
            answers.put_nowait(answer)
            break
        first.more.append(answer)
    return first

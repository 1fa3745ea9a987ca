"""An engine's reports to a router, without an engine."""

from __future__ import annotations

import time

import grpc

from enginehouse.api.common.v1 import usage_pb2 as common_pb2
from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from router.tests.harness.router_process import RouterProcess


class EngineReports:
    """The report stream of an engine, which counts what it is told."""

    def __init__(self, router: RouterProcess, *, engine_id: str = "engine-1") -> None:
        self.engine_id = engine_id
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{router.grpc}")
        stub: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(self._channel)
        self._call = stub.Report()
        self._sequence = 0

    def record(
        self,
        token: str,
        *,
        output: int,
        model: str = "small",
        cost: int = 0,
        outcome: usage_pb2.Outcome.ValueType = usage_pb2.OUTCOME_COMPLETED,
        time_to_first_token_ms: int = 0,
    ) -> usage_pb2.UsageRecord:
        """A record of `output` tokens."""
        return usage_pb2.UsageRecord(
            grant=token,
            engine_id=self.engine_id,
            model=model,
            usage=common_pb2.Usage(
                units=[common_pb2.UnitAmount(unit=common_pb2.UNIT_OUTPUT_TOKENS, amount=output)], cost_nanos=cost
            ),
            outcome=outcome,
            started_at_ms=1,
            ended_at_ms=2,
            time_to_first_token_ms=time_to_first_token_ms,
        )

    async def send(self, record: usage_pb2.UsageRecord) -> usage_pb2.ReportResponse:
        """Report one record and return its acknowledgement."""
        return await self._exchange(usage_pb2.ReportRequest(record=record))

    async def report(self, token: str, *, output: int, model: str = "small") -> usage_pb2.ReportResponse:
        """Report `output` tokens for a grant and return the acknowledgement."""
        return await self.send(self.record(token, output=output, model=model))

    async def watermark(self, issued_before_ms: int) -> None:
        """Report the engine's watermark."""
        mark = usage_pb2.Watermark(
            engine_id=self.engine_id, issued_before_ms=issued_before_ms, engine_time_ms=int(time.time() * 1000)
        )
        answer = await self._exchange(usage_pb2.ReportRequest(watermark=mark))
        assert answer.status == usage_pb2.ReportResponse.STATUS_NOTED

    async def close(self) -> None:
        """End the stream."""
        self._call.cancel()
        await self._channel.close()

    async def _exchange(self, request: usage_pb2.ReportRequest) -> usage_pb2.ReportResponse:
        self._sequence += 1
        request.sequence = self._sequence
        await self._call.write(request)
        answer = await self._call.read()
        assert isinstance(answer, usage_pb2.ReportResponse), "the stream has ended"
        assert answer.sequence == self._sequence
        return answer

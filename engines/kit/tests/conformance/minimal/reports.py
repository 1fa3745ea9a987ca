"""Reports to the router: each record until it is acknowledged, and a watermark every half second."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc

from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from engines.kit.tests.conformance.minimal.spool import Spool, now_ms

Status = usage_pb2.ReportResponse


class Reporter:
    def __init__(self, spool: Spool, router: str) -> None:
        self.spool = spool
        self.router = router

    async def run(self) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with grpc.aio.insecure_channel(
                    self.router, options=(("grpc.use_local_subchannel_pool", 1),)
                ) as channel:
                    await self.stream(usage_pb2_grpc.UsageServiceStub(channel))
            await asyncio.sleep(0.1)

    async def stream(self, stub: Any) -> None:
        call = stub.Report()
        sent: dict[int, int] = {}
        sender = asyncio.create_task(self.send(call, sent))
        try:
            async for response in call:
                for answer in (response, *response.more):
                    self.acknowledged(answer, sent)
        finally:
            sender.cancel()
            call.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def send(self, call: Any, sent: dict[int, int]) -> None:
        sequence, next_mark = 0, 0
        while True:
            for reference, record in self.unsent(sent):
                sequence += 1
                sent[sequence] = reference
                await call.write(usage_pb2.ReportRequest(sequence=sequence, record=record))
            if now_ms() >= next_mark:
                next_mark = now_ms() + 500
                sequence += 1
                await call.write(usage_pb2.ReportRequest(sequence=sequence, watermark=self.watermark()))
            await asyncio.sleep(0.02)

    def unsent(self, sent: dict[int, int]) -> list[tuple[int, usage_pb2.UsageRecord]]:
        on_their_way = set(sent.values())
        return [item for item in self.spool.pending.items() if item[0] not in on_their_way]

    def watermark(self) -> usage_pb2.Watermark:
        return usage_pb2.Watermark(
            engine_id=self.spool.engine_id, issued_before_ms=self.spool.watermark_ms(), engine_time_ms=now_ms()
        )

    def acknowledged(self, answer: usage_pb2.ReportResponse, sent: dict[int, int]) -> None:
        reference = sent.get(answer.sequence)
        if reference is not None and self.ends(answer.status):
            self.spool.settle(reference)

    def ends(self, status: usage_pb2.ReportResponse.Status.ValueType) -> bool:
        return status in (Status.STATUS_SETTLED, Status.STATUS_ALREADY_SETTLED, Status.STATUS_REJECTED)

    async def flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while self.spool.pending:
                    await asyncio.sleep(0.01)

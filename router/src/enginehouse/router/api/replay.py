"""The replay endpoint: the text services over answers that are kept. It takes the router's grants as engines do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from cachetools import TLRUCache

from enginehouse.api.common.v1 import usage_pb2 as common_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, grant_pb2
from enginehouse.kit.calls.running_grant import running_grant
from enginehouse.kit.calls.trailers import COST_TRAILER, add_trailer
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys
from enginehouse.router.cache._cache import ResponseCache
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.clock import Clock

_MAX_USED = 100_000


class ReplayCall:
    """One call that a kept answer is given to."""

    def __init__(self, *, grant: grant_pb2.Grant, cache: ResponseCache) -> None:
        self.grant = grant
        self.request_id = grant.request_id
        self.model = ""
        """The model that made the answer, once it is known."""
        self.first_output_ms = 0
        """Milliseconds to the first output; 0 before."""
        self._cache = cache
        self._began = time.monotonic()

    async def answer(self) -> cache_pb2.Answer:
        """The answer. Raises ANSWER_LOST if there is none any more."""
        answer = await self._cache.replay(self.grant)
        if answer is None:
            raise ServiceError(
                Reason.ANSWER_LOST,
                "the answer that this request was to share is gone or was never finished; retry, and it is made anew",
                retry_after_s=0.1,
            )
        self.first_output_ms = max(1, self.elapsed_ms())
        return answer

    def elapsed_ms(self) -> int:
        """Milliseconds since the call began."""
        return int((time.monotonic() - self._began) * 1000)


class ReplayCalls:
    """Accepts the router's own grants, each once.

    Args:
        cache: has the answers.
        grant_keys: whose grants count.
        hits: puts each answer given on record.
        metrics: counts.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        cache: ResponseCache,
        grant_keys: GrantKeys,
        hits: HitRecorder,
        metrics: CacheMetrics,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._grant_keys = grant_keys
        self._hits = hits
        self._metrics = metrics
        self._clock = clock
        # Each grant until it would be refused for its age; beyond the bound the least recent is dropped.
        self._used: TLRUCache[str, int] = TLRUCache(_MAX_USED, lambda _, accept_by_ms, __: accept_by_ms, timer=clock)

    @asynccontextmanager
    async def accept(self, context: Any) -> AsyncIterator[ReplayCall]:
        """Accept the call's grant for the length of the block.

        Raises:
            ServiceError: GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED or GRANT_REPLAYED.
        """
        now = self._clock()
        grant = running_grant(keys=self._grant_keys, now_ms=now)
        if not grant.HasField("replay"):
            raise ServiceError(Reason.GRANT_INVALID, "the grant is for an engine; kept answers need one of their own")
        self._use(grant)
        call = ReplayCall(grant=grant, cache=self._cache)
        outcome = "lost"
        try:
            yield call
            outcome = "given"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            add_trailer(context, COST_TRAILER, "0")
            self._metrics.count_replay(outcome)
            if call.model:
                self._hits.record(
                    grant, model=call.model, started_at_ms=now, first_output_ms=call.first_output_ms, outcome=outcome
                )

    def _use(self, grant: grant_pb2.Grant) -> None:
        if grant.grant_id in self._used:
            raise ServiceError(Reason.GRANT_REPLAYED, "the grant was used before; each is good for one call")
        self._used[grant.grant_id] = grant.accept_by_ms


class ReplayEngine:
    """Gives kept answers in the place of an engine."""

    async def generate(
        self, request: generation_pb2.GenerateRequest, call: ReplayCall
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        """Yield the answer's messages: its first names the request and the model, its last says what it cost."""
        answer = await call.answer()
        if answer.WhichOneof("kind") != "generated":
            raise ServiceError(Reason.INTERNAL, "the kept answer is of another kind than the request")
        generated = answer.generated
        call.model = generated.model
        response = generation_pb2.GenerateResponse(request_id=call.request_id, model=generated.model)
        for delta in generated.deltas:
            if any(earlier.index == delta.index for earlier in response.deltas):
                yield response
                # Others get a turn between the pieces of a long answer.
                await asyncio.sleep(0)
                response = generation_pb2.GenerateResponse()
            response.deltas.append(delta)
        response.summary.usage.CopyFrom(_free(generated.usage))
        response.summary.time_to_first_token_ms = call.first_output_ms
        response.summary.total_ms = call.elapsed_ms()
        yield response

    async def embed(self, request: generation_pb2.EmbedRequest, call: ReplayCall) -> generation_pb2.EmbedResponse:
        """The kept vectors."""
        answer = await call.answer()
        if answer.WhichOneof("kind") != "embedded":
            raise ServiceError(Reason.INTERNAL, "the kept answer is of another kind than the request")
        embedded = answer.embedded
        call.model = embedded.model
        return generation_pb2.EmbedResponse(
            request_id=call.request_id,
            model=embedded.model,
            embeddings=embedded.embeddings,
            usage=_free(embedded.usage),
        )


class ReplayServicer(generation_pb2_grpc.GenerationServiceServicer):
    """`inference.v1.GenerationService` over kept answers; of its methods, those that have answers to keep."""

    def __init__(self, *, engine: ReplayEngine, calls: ReplayCalls) -> None:
        self._engine = engine
        self._calls = calls

    async def Generate(
        self, request: generation_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[generation_pb2.GenerateResponse]:
        """Give a kept answer."""
        async with (
            self._calls.accept(context) as call,
            aclosing(self._engine.generate(request, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def Embed(self, request: generation_pb2.EmbedRequest, context: Any) -> generation_pb2.EmbedResponse:
        """Give kept vectors."""
        async with self._calls.accept(context) as call:
            return await self._engine.embed(request, call)

    async def Tokenize(self, request: generation_pb2.TokenizeRequest, context: Any) -> generation_pb2.TokenizeResponse:
        """Never called through the gateway."""
        raise ServiceError(Reason.UNKNOWN_METHOD, "tokens are an engine's; only answers are kept")

    async def CountTokens(
        self, request: generation_pb2.CountTokensRequest, context: Any
    ) -> generation_pb2.CountTokensResponse:
        """Never called through the gateway."""
        raise ServiceError(Reason.UNKNOWN_METHOD, "tokens are an engine's; only answers are kept")

    async def ListModels(
        self, request: generation_pb2.ListModelsRequest, context: Any
    ) -> generation_pb2.ListModelsResponse:
        """Never called through the gateway."""
        raise ServiceError(Reason.UNKNOWN_METHOD, "models are an engine's; only answers are kept")


def _free(usage: common_pb2.Usage) -> common_pb2.Usage:
    """Return the usage of the call that made the answer, and a cost of nothing now."""
    return common_pb2.Usage(units=usage.units, cost_nanos=0)

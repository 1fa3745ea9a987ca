"""Embeddings of questions, made by an engine on a grant of the router's own that may spend nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import grpc
import numpy as np

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, sign
from enginehouse.router.cache._semantic import Vector
from enginehouse.router.clock import Clock
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.ids import new_id

_log = logging.getLogger(__name__)

_EMBED = "/enginehouse.api.inference.v1.GenerationService/Embed"
_MAX_ENGINES = 64
# The model reads 512 tokens, which are at most so many characters in most scripts. An engine would refuse more.
_MAX_QUESTION_LENGTH = 1500


class QuestionEmbedder:
    """Embeds questions on live engines.

    Args:
        model: the catalog's model that embeds.
        engines: returns the live engines that serve a model, best first.
        grant_keys: the keys that sign grants.
        clock: milliseconds since 1970 UTC.
        timeout_s: seconds that an engine may take.
    """

    def __init__(
        self,
        *,
        model: str,
        engines: Callable[[str], Sequence[Endpoint]],
        grant_keys: GrantKeys,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._model = model
        self._engines = engines
        self._grant_keys = grant_keys
        self._clock = clock
        self._timeout_s = timeout_s
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.failures = 0
        """The number of times that no vector came in time."""

    async def vector(self, question: str, principal: grant_pb2.Principal) -> Vector | None:
        """Return the question's vector of length 1; None if the question is too long or no engine answers in time.

        Args:
            question: the text.
            principal: the caller of the request. The embedding is recorded as the caller's, and free.
        """
        engines = self._engines(self._model)
        if not question or len(question) > _MAX_QUESTION_LENGTH:
            return None
        if not engines:
            self.failures += 1
            return None
        now = self._clock()
        life_ms = int(self._timeout_s * 1000) + 1000
        grant = grant_pb2.Grant(
            grant_id=new_id("grn"),
            request_id=new_id("req"),
            attempt=1,
            method=_EMBED,
            principal=principal,
            candidates=[grant_pb2.GrantCandidate(model=self._model)],
            issued_at_ms=now,
            accept_by_ms=now + life_ms,
            expires_at_ms=now + life_ms,
            offered_engines=1,
        )
        request = generation_pb2.EmbedRequest(model=self._model, inputs=[question])
        try:
            stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(
                await self._channel(engines[0].address)
            )
            response = await stub.Embed(
                request, metadata=((GRANT_HEADER, sign(grant, keys=self._grant_keys)),), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            self.failures += 1
            _log.info("no vector for a question", extra={"code": error.code().name})
            return None
        vector = np.array(response.embeddings[0].values, dtype=np.float32)
        length = float(np.linalg.norm(vector))
        return vector / length if length > 0 else None

    async def close(self) -> None:
        """Close the connections to engines."""
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()

    async def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            if len(self._channels) >= _MAX_ENGINES:
                await self._channels.pop(next(iter(self._channels))).close(None)
            channel = self._channels[address] = grpc.aio.insecure_channel(
                address, options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
            )
        return channel

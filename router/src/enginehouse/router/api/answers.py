"""AnswerService: engines hand over finished answers."""

from __future__ import annotations

from typing import Any

from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys, authenticate
from enginehouse.router.cache._cache import ResponseCache
from enginehouse.router.clock import Clock

# After its grant's expiry an engine has this long to hand the answer over.
_GRACE_MS = 60_000


class AnswerServicer(cache_pb2_grpc.AnswerServiceServicer):
    """Takes answers whose grant asks for them to be kept.

    Args:
        cache: keeps them.
        grant_keys: whose grants count.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, cache: ResponseCache, grant_keys: GrantKeys, clock: Clock) -> None:
        self._cache = cache
        self._grant_keys = grant_keys
        self._clock = clock

    async def Store(self, request: cache_pb2.StoreRequest, context: Any) -> cache_pb2.StoreResponse:
        """Keep an answer. Raises GRANT_MISSING, GRANT_INVALID or GRANT_EXPIRED."""
        grant = authenticate(request.grant, keys=self._grant_keys)
        if not grant.HasField("keep"):
            raise ServiceError(Reason.GRANT_INVALID, "the grant asks for no answer to be kept")
        if self._clock() > grant.expires_at_ms + _GRACE_MS:
            raise ServiceError(Reason.GRANT_EXPIRED, "the grant has expired; its answer is not stored any more")
        answer = request.answer if request.HasField("answer") else None
        return cache_pb2.StoreResponse(kept=await self._cache.keep(grant, answer))

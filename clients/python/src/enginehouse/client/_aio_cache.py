"""Kept answers, asynchronously. Requests and answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import grpc
from google.api import httpbody_pb2

from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc
from enginehouse.client._sync_cache import RESULT_HEADER
from enginehouse.client.errors import from_rpc_error


class AsyncCache:
    """Cached answers; the key needs the scope `admin`, except for `stats` and `create_chat_completion`.

    Every method raises EnginehouseError.
    """

    def __init__(
        self, channel: grpc.aio.Channel, unary: Callable[..., Any], metadata: Callable[[], Sequence[tuple[str, str]]]
    ) -> None:
        self._stub = cache_pb2_grpc.CacheServiceStub(channel)
        self._text = text_pb2_grpc.TextServiceStub(channel)
        self._unary = unary
        self._metadata = metadata

    async def set_policy(self, policy: cache_pb2.CachePolicy) -> cache_pb2.CachePolicy:
        """Sets how a key's requests use the cache."""
        request = cache_pb2.SetCachePolicyRequest(
            key_id=policy.key_id,
            mode=policy.mode,
            default_class=policy.default_class,
            semantic=policy.semantic,
            semantic_threshold=policy.semantic_threshold,
        )
        answer: cache_pb2.SetCachePolicyResponse = await self._unary(self._stub.SetCachePolicy, request)
        return answer.policy

    async def list_policies(self) -> AsyncIterator[cache_pb2.CachePolicy]:
        """The keys that have a policy of their own, page by page."""
        request = cache_pb2.ListCachePoliciesRequest(page_size=1000)
        while True:
            page: cache_pb2.ListCachePoliciesResponse = await self._unary(self._stub.ListCachePolicies, request)
            for policy in page.policies:
                yield policy
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def invalidate(self, tag: str, *, tenant_id: str = "") -> int:
        """Makes what is kept under a tag unusable; how often that was done."""
        request = cache_pb2.InvalidateTagRequest(tag=tag, tenant_id=tenant_id)
        answer: cache_pb2.InvalidateTagResponse = await self._unary(self._stub.InvalidateTag, request)
        return answer.generation

    async def clear(self, *, tenant_id: str = "") -> None:
        """Makes every answer unusable, of one tenant or of all."""
        await self._unary(self._stub.ClearCache, cache_pb2.ClearCacheRequest(tenant_id=tenant_id))

    async def warm(
        self,
        key_id: str,
        entries: Iterable[cache_pb2.WarmEntry],
        *,
        cache_class: cache_pb2.CacheClass.ValueType = cache_pb2.CACHE_CLASS_UNSPECIFIED,
        tags: Sequence[str] = (),
    ) -> int:
        """Keeps answers that were made elsewhere, for the requests of a key; how many."""
        request = cache_pb2.WarmCacheRequest(key_id=key_id, entries=entries, cache_class=cache_class, tags=tags)
        answer: cache_pb2.WarmCacheResponse = await self._unary(self._stub.WarmCache, request)
        return answer.kept

    async def stats(self) -> cache_pb2.GetCacheStatsResponse:
        """Counts of the router that answers."""
        answer: cache_pb2.GetCacheStatsResponse = await self._unary(
            self._stub.GetCacheStats, cache_pb2.GetCacheStatsRequest()
        )
        return answer

    async def create_chat_completion(
        self, body: bytes, *, headers: Sequence[tuple[str, str]] = ()
    ) -> tuple[str, bytes]:
        """Sends a chat completion's JSON so that its answer is kept; what came of the lookup, and the answer's bytes.

        It is billed like any request.
        """
        metadata = (*self._metadata(), (RESULT_HEADER, "use"), *headers)
        message = httpbody_pb2.HttpBody(content_type="application/json", data=body)
        try:
            call = self._text.CreateChatCompletion(message, metadata=metadata)
            answer = b"".join([part.data async for part in call])
            return str(dict(await call.initial_metadata()).get(RESULT_HEADER, "")), answer
        except grpc.RpcError as raised:
            raise from_rpc_error(raised, request_id="") from raised

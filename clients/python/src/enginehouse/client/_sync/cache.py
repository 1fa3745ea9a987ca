# Generated from _async/cache.py by clients/python/unasync.py (`make client`). Do not edit.
"""Cached answers. Requests and responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import grpc
from google.api import httpbody_pb2

from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc
from enginehouse.client._connection import CACHE_HEADER, new_request_id
from enginehouse.client._sync.transport import Transport
from enginehouse.client.errors import from_rpc_error


class Cache:
    """Cached answers; the key needs the scope `admin`, except for `stats` and `create_chat_completion`.

    Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: Transport) -> None:
        self._transport = transport
        self._stub = cache_pb2_grpc.CacheServiceStub(transport.channel)
        self._text = text_pb2_grpc.TextServiceStub(transport.channel)

    def set_policy(self, policy: cache_pb2.CachePolicy) -> cache_pb2.CachePolicy:
        """Set the cache policy of a key's requests."""
        request = cache_pb2.SetCachePolicyRequest(
            key_id=policy.key_id,
            mode=policy.mode,
            default_class=policy.default_class,
            semantic=policy.semantic,
            semantic_threshold=policy.semantic_threshold,
        )
        response = self._transport.unary(self._stub.SetCachePolicy, request)
        return response.policy

    def list_policies(self) -> Iterator[cache_pb2.CachePolicy]:
        """List the keys that have a cache policy of their own, page by page."""
        request = cache_pb2.ListCachePoliciesRequest(page_size=1000)
        for page in self._transport.pages(self._stub.ListCachePolicies, request):
            yield from page.policies

    def invalidate(self, tag: str, *, tenant_id: str = "") -> int:
        """Invalidate the answers under a tag, and return the number of times that was done for the tag."""
        request = cache_pb2.InvalidateTagRequest(tag=tag, tenant_id=tenant_id)
        response = self._transport.unary(self._stub.InvalidateTag, request)
        return response.generation

    def clear(self, *, tenant_id: str = "") -> None:
        """Invalidate every answer, of one tenant or of all."""
        self._transport.unary(self._stub.ClearCache, cache_pb2.ClearCacheRequest(tenant_id=tenant_id))

    def warm(
        self,
        key_id: str,
        entries: Iterable[cache_pb2.WarmEntry],
        *,
        cache_class: cache_pb2.CacheClass.ValueType = cache_pb2.CACHE_CLASS_UNSPECIFIED,
        tags: Sequence[str] = (),
    ) -> int:
        """Cache answers that were made elsewhere, for the requests of a key, and return their number."""
        request = cache_pb2.WarmCacheRequest(key_id=key_id, entries=entries, cache_class=cache_class, tags=tags)
        response = self._transport.unary(self._stub.WarmCache, request)
        return response.kept

    def stats(self) -> cache_pb2.GetCacheStatsResponse:
        """Return the counts of the router that answers."""
        return self._transport.unary(self._stub.GetCacheStats, cache_pb2.GetCacheStatsRequest())

    def create_chat_completion(self, body: bytes, *, headers: Sequence[tuple[str, str]] = ()) -> tuple[str, bytes]:
        """Send a chat completion's JSON so that its answer is cached; it is billed like any request.

        Returns:
            The result of the lookup (hit, semantic, shared, miss, refresh or bypass), and the answer's bytes.
        """
        request_id = new_request_id()
        metadata = (*self._transport.metadata(request_id), (CACHE_HEADER, "use"), *headers)
        message = httpbody_pb2.HttpBody(content_type="application/json", data=body)
        try:
            call = self._text.CreateChatCompletion(message, metadata=metadata)
            answer = b"".join([part.data for part in call])
            return str(dict(call.initial_metadata()).get(CACHE_HEADER, "")), answer
        except grpc.RpcError as raised:
            raise from_rpc_error(raised, request_id=request_id) from raised

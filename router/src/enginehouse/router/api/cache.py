"""CacheService: administration of kept answers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from google.api import httpbody_pb2

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc, grant_pb2
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid
from enginehouse.router.api.admin import Access, Administrator, authorized_call, page_size, page_start, page_token
from enginehouse.router.cache._cache import ResponseCache
from enginehouse.router.cache._canonical import canonicalize_chat
from enginehouse.router.cache._directives import CacheDirectives, check_tags
from enginehouse.router.cache._memory import AnswerMemory
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._settings import CLASSES, CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CacheRules, CacheStore, KeyPolicy
from enginehouse.router.clock import Clock
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.identity import Caller, KeyIndex
from enginehouse.router.request import read_request

_PREFIX = "/enginehouse.api.router.v1.CacheService/"
_CHAT = "/enginehouse.api.openai.v1.TextService/CreateChatCompletion"
_MAX_ENTRIES = 1000
_FINISH = {
    "": generation_pb2.FINISH_REASON_STOP,
    "stop": generation_pb2.FINISH_REASON_STOP,
    "length": generation_pb2.FINISH_REASON_LENGTH,
}


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves CacheService.

    Args:
        access: who calls.
        cache: the answers.
        memory: those of this router.
        shared: those in Redis; None without.
        store: tags and policies in PostgreSQL.
        rules: the same in memory.
        metrics: counts.
        settings: bounds and times.
        contracts: where requests are described.
        state: what decisions look at, to know which model would answer.
        keys: the keys whose requests answers are kept for.
        router_id: what this router calls itself.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        access: Access,
        cache: ResponseCache,
        memory: AnswerMemory,
        shared: SharedAnswers | None,
        store: CacheStore,
        rules: CacheRules,
        metrics: CacheMetrics,
        settings: CacheSettings,
        contracts: Contracts,
        state: State,
        keys: KeyIndex,
        router_id: str,
        clock: Clock,
    ) -> None:
        self._access = access
        self._cache = cache
        self._memory = memory
        self._shared = shared
        self._store = store
        self._rules = rules
        self._metrics = metrics
        self._settings = settings
        self._contracts = contracts
        self._state = state
        self._keys = keys
        self._router_id = router_id
        self._clock = clock

    async def SetCachePolicy(
        self, request: cache_pb2.SetCachePolicyRequest, context: Any
    ) -> cache_pb2.SetCachePolicyResponse:
        """Set a key's policy."""
        with self._caller(context, "SetCachePolicy"):
            _known("mode", request.mode, cache_pb2.CacheMode.values())
            _known("default_class", request.default_class, cache_pb2.CacheClass.values())
            if not 0 <= request.semantic_threshold <= 1:
                raise invalid("semantic_threshold", f"{request.semantic_threshold} must be from 0 to 1")
            policy = KeyPolicy(
                request.key_id,
                request.mode,
                request.default_class,
                request.semantic,
                request.semantic_threshold,
            )
            if not await self._store.set_policy(policy, now_ms=self._clock()):
                raise ServiceError(
                    Reason.NOT_FOUND, f"no key {request.key_id[:64]!r}; 'enginehouse keys list' has them"
                )
            # The others are notified; this router keeps to it as it answers.
            self._rules.put(policy)
            return cache_pb2.SetCachePolicyResponse(policy=_policy(policy))

    async def ListCachePolicies(
        self, request: cache_pb2.ListCachePoliciesRequest, context: Any
    ) -> cache_pb2.ListCachePoliciesResponse:
        """List policies."""
        with self._caller(context, "ListCachePolicies"):
            size = page_size(request.page_size)
            after = page_start(request.page_token, "cache-policies")
            found = await self._store.list_policies(after=after, count=size + 1)
            response = cache_pb2.ListCachePoliciesResponse(policies=[_policy(policy) for policy in found[:size]])
            if len(found) > size:
                response.next_page_token = page_token("cache-policies", found[size - 1].key_id)
            return response

    async def InvalidateTag(
        self, request: cache_pb2.InvalidateTagRequest, context: Any
    ) -> cache_pb2.InvalidateTagResponse:
        """Make what is kept under a tag unusable."""
        with self._caller(context, "InvalidateTag"):
            check_tags([request.tag], field="tag")
            return cache_pb2.InvalidateTagResponse(generation=await self._invalidate(request.tenant_id, request.tag))

    async def ClearCache(self, request: cache_pb2.ClearCacheRequest, context: Any) -> cache_pb2.ClearCacheResponse:
        """Make everything unusable."""
        with self._caller(context, "ClearCache"):
            generation = await self._invalidate(request.tenant_id, "")
            if not request.tenant_id:
                self._cache.clear()
            return cache_pb2.ClearCacheResponse(generation=generation)

    async def WarmCache(self, request: cache_pb2.WarmCacheRequest, context: Any) -> cache_pb2.WarmCacheResponse:
        """Keep answers that were made elsewhere; all of a call's, or none if one of them cannot be kept."""
        with self._caller(context, "WarmCache"):
            caller = self._keys.get(request.key_id)
            if caller is None:
                raise ServiceError(Reason.NOT_FOUND, f"no usable key {request.key_id[:64]!r}")
            if not 1 <= len(request.entries) <= _MAX_ENTRIES:
                raise invalid("entries", f"{len(request.entries)} entries are not between 1 and {_MAX_ENTRIES}")
            _known("cache_class", request.cache_class, cache_pb2.CacheClass.values())
            directives = self._warm_directives(caller, request)
            made = [self._warmed(f"entries[{at}]", one, caller, directives) for at, one in enumerate(request.entries)]
            for key, data in made:
                await self._cache.put(key, data, keep_ms=directives.keep_ms)
            return cache_pb2.WarmCacheResponse(kept=len(made))

    async def GetCacheStats(
        self, request: cache_pb2.GetCacheStatsRequest, context: Any
    ) -> cache_pb2.GetCacheStatsResponse:
        """Count."""
        with self._caller(context, "GetCacheStats", reads=True):
            return cache_pb2.GetCacheStatsResponse(
                router_id=self._router_id,
                entries=len(self._memory),
                bytes=self._memory.bytes,
                max_bytes=self._memory.max_bytes,
                lookups=[
                    cache_pb2.CacheLookups(result=result, count=count)
                    for result, count in sorted(self._metrics.lookups.items())
                ],
                stored=self._metrics.stored_count,
                evicted=self._memory.evicted,
                refused=self._metrics.refused_count,
                shared=self._shared is not None and self._shared.up,
            )

    async def _invalidate(self, tenant_id: str, tag: str) -> int:
        changed = await self._store.invalidate(tenant_id=tenant_id, tag=tag, now_ms=self._clock())
        # The others hear of it; who asked this one must not be given the old answer by it either.
        self._rules.note(changed)
        return changed.generation

    def _warm_directives(self, caller: Caller, request: cache_pb2.WarmCacheRequest) -> CacheDirectives:
        policy = self._rules.policy(caller.key.key_id)
        kind = request.cache_class or (policy.default_class if policy is not None else 0)
        kind = kind or CLASSES[self._settings.default_class]
        keep_s = self._settings.keep_s(kind)
        if not keep_s:
            raise invalid("cache_class", "answers about a person are never kept; name another class")
        tags = check_tags(list(request.tags), field="tags")
        return CacheDirectives(
            deterministic_only=False, reads=True, keep_ms=int(keep_s * 1000), tags=tags, semantic=0.0
        )

    def _warmed(
        self, field: str, entry: cache_pb2.WarmEntry, caller: Caller, directives: CacheDirectives
    ) -> tuple[bytes, bytes]:
        """The key that an entry is kept under, and its answer."""
        body = entry.request_json.encode()
        asked = canonicalize_chat(body)
        message = httpbody_pb2.HttpBody(data=body).SerializeToString()
        ask = read_request(self._contracts, self._contracts.methods[_CHAT], message)
        if asked is None:
            raise invalid(f"{field}.request_json", "asks for something whose answer is not kept")
        if entry.finish_reason not in _FINISH:
            raise invalid(f"{field}.finish_reason", f"{entry.finish_reason[:32]!r} must be 'stop' or 'length'")
        if ask.choices > 1:
            raise invalid(f"{field}.request_json", f"asks for {ask.choices} answers, and one is given")
        decision = decide(ask, caller, self._state)
        if decision.refusal is not None:
            raise decision.refusal
        model = decision.candidates[0].model
        principal = grant_pb2.Principal(tenant_id=caller.tenant.tenant_id, key_id=caller.key.key_id)
        answer = cache_pb2.Answer(
            generated=cache_pb2.GeneratedAnswer(
                model=model.name,
                deltas=[generation_pb2.ChoiceDelta(text=entry.answer, finish_reason=_FINISH[entry.finish_reason])],
                usage=usage_pb2.Usage(),
            )
        )
        data = answer.SerializeToString()
        if len(data) > self._settings.max_answer_bytes:
            raise invalid(f"{field}.answer", f"is over the {self._settings.max_answer_bytes} bytes that are kept")
        return self._cache.key_of(asked, directives, model=model, principal=principal), data

    def _caller(
        self, context: Any, method: str, *, reads: bool = False
    ) -> contextlib.AbstractContextManager[Administrator]:
        return authorized_call(self._access, context, _PREFIX + method, reads=reads)


def _policy(policy: KeyPolicy) -> cache_pb2.CachePolicy:
    return cache_pb2.CachePolicy(
        key_id=policy.key_id,
        mode=policy.mode,  # type: ignore[arg-type]
        default_class=policy.default_class,  # type: ignore[arg-type]
        semantic=policy.semantic,
        semantic_threshold=policy.semantic_threshold,
    )


def _known(field: str, value: int, values: Sequence[int]) -> None:
    if value not in values:
        raise invalid(field, f"{value} is none of the values that the contract has")

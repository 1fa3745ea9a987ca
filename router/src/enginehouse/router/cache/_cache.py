"""Lookup of cached answers, and storage of those that engines hand over.

A lookup happens once a request is admitted and decided, before money is reserved, because a cached answer costs
nothing. It does no I/O beyond what was configured: Redis, and an embedding if the key's policy wants one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import cache_pb2, grant_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.tasks import TaskSet
from enginehouse.router.cache._canonical import CanonicalRequest, answer_key, canonicalize, frame_key, model_identity
from enginehouse.router.cache._coalescer import PendingAnswer, RequestCoalescer
from enginehouse.router.cache._directives import CacheDirectives, DirectiveParser
from enginehouse.router.cache._embedder import QuestionEmbedder
from enginehouse.router.cache._guard import traits
from enginehouse.router.cache._memory import AnswerMemory, CachedAnswer
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._semantic import Question, SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CacheRules
from enginehouse.router.clock import Clock
from enginehouse.router.redis import RedisUnavailable

# Questions whose answers are being made. One that is dropped is added again when it is next asked.
_MAX_PENDING_QUESTIONS = 4096
_MAX_PROMISED = 10_000
# Seconds between two looks for an answer that another router's request is making.
_FOLLOW_S = 0.05


class LookupResult(enum.StrEnum):
    """The result of a lookup, as in the response header `x-enginehouse-cache`."""

    HIT = "hit"
    SEMANTIC = "semantic"
    SHARED = "shared"
    MISS = "miss"
    REFRESH = "refresh"
    BYPASS = "bypass"


@dataclasses.dataclass(frozen=True, slots=True)
class CacheLookup:
    """A lookup that was made.

    Attributes:
        result: its result.
        key: the key that the answer is, or will be, kept under; empty for a bypass.
    """

    result: LookupResult
    key: bytes = b""

    @property
    def answered(self) -> bool:
        """True if the replay endpoint answers, and no engine."""
        return self.result in _ANSWERED


_ANSWERED = frozenset({LookupResult.HIT, LookupResult.SEMANTIC, LookupResult.SHARED})


@dataclasses.dataclass(frozen=True, slots=True)
class PromisedAnswer:
    """An answer promised to a request: already present, or being made."""

    data: bytes | None
    pending: PendingAnswer | None
    until_ms: int


class ResponseCache:
    """One router's cache.

    Args:
        settings: bounds and times.
        rules: tags and policies.
        memory: the answers in this router's memory.
        shared: the answers in Redis; None if there is no Redis.
        coalescer: the answers that are being made.
        index: the questions that may share answers.
        embedder: embeds questions.
        metrics: the counters.
        clock: milliseconds since 1970 UTC.
        receives_changes: returns whether invalidations arrive; while they don't, no answer with tags is given.
    """

    def __init__(
        self,
        *,
        settings: CacheSettings,
        rules: CacheRules,
        memory: AnswerMemory,
        shared: SharedAnswers | None,
        coalescer: RequestCoalescer,
        index: SemanticIndex,
        embedder: QuestionEmbedder,
        metrics: CacheMetrics,
        clock: Clock,
        receives_changes: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._parser = DirectiveParser(settings=settings)
        self._memory = memory
        self._shared = shared
        self._coalescer = coalescer
        self._index = index
        self._embedder = embedder
        self._metrics = metrics
        self._clock = clock
        self._receives_changes = receives_changes
        self._identities: dict[str, tuple[CatalogModel, bytes]] = {}
        self._pending_questions: OrderedDict[bytes, Question] = OrderedDict()
        self._promised: OrderedDict[str, PromisedAnswer] = OrderedDict()
        self._tasks = TaskSet()
        self.address = ""
        """The replay endpoint's address for Envoy and engines; set once it listens."""

    def directives(self, headers: Mapping[bytes, bytes], key_ids: Sequence[str]) -> CacheDirectives | None:
        """Return a request's directives; None if it does not use the cache.

        `key_ids` are its key and the keys that it was made with, nearest first. The first that has a policy counts.

        Raises:
            ServiceError: INVALID_REQUEST for a header that cannot be read.
        """
        return self._parser.parse(headers, next(filter(None, map(self._rules.policy, key_ids)), None))

    async def lookup(
        self,
        directives: CacheDirectives,
        *,
        method: str,
        message: bytes,
        model: CatalogModel,
        engine_id: str,
        grant: grant_pb2.Grant,
    ) -> CacheLookup:
        """Look up the answer to a call, and complete its grant accordingly.

        After a hit the grant is valid at the replay endpoint alone. After a miss it asks the engine to hand its answer
        over.

        Args:
            directives: the request's use of the cache.
            method: the full method.
            message: the request message.
            model: the model chosen.
            engine_id: the engine that would serve it.
            grant: the grant that is being made for it.
        """
        asked = canonicalize(method, message) if self._usable(directives) else None
        if asked is None or (directives.deterministic_only and not asked.deterministic):
            return self._count(CacheLookup(LookupResult.BYPASS))
        key = self.key_of(asked, directives, model=model, principal=grant.principal, system_prompt=grant.system_prompt)
        if not directives.reads:
            return self._request_storage(LookupResult.REFRESH, key, directives, grant)
        kept = await self.find(key)
        if kept is not None:
            return self._promise(LookupResult.HIT, key, grant, kept.data, None)
        pending = self._coalescer.join(key)
        if pending is None and directives.semantic and asked.frame:
            similar = await self._find_similar(asked, directives, key, model=model, grant=grant)
            if similar is not None:
                return self._promise(LookupResult.SEMANTIC, similar[0], grant, similar[1].data, None)
            # An equal question may have come while this one was embedded.
            pending = self._coalescer.join(key)
        if pending is None and self._shared is not None and self._settings.wait_s > 0:
            pending = await self._join_other_router(self._shared, key, engine_id)
        if pending is not None:
            return self._promise(LookupResult.SHARED, key, grant, None, pending)
        self._coalescer.begin(key, grant_id=grant.grant_id, engine_id=engine_id)
        return self._request_storage(LookupResult.MISS, key, directives, grant)

    def key_of(
        self,
        asked: CanonicalRequest,
        directives: CacheDirectives,
        *,
        model: CatalogModel,
        principal: grant_pb2.Principal,
        system_prompt: str = "",
    ) -> bytes:
        """Return the key that the answer to a request is kept under."""
        return answer_key(
            asked,
            scope=self._scope(principal),
            model=self._identity(model),
            system_prompt=system_prompt,
            epochs=self._rules.epochs(principal.tenant_id, directives.tags),
        )

    async def find(self, key: bytes) -> CachedAnswer | None:
        """Return the answer kept under a key, here or in Redis."""
        kept = self._memory.get(key)
        if kept is None and self._shared is not None:
            kept = await self._shared.get(key)
            if kept is not None:
                self._memory.put(key, kept)
        return kept

    def abandon(self, lookup: CacheLookup, grant_id: str) -> None:
        """End what a lookup began, because its request will not be served."""
        if lookup.result is LookupResult.MISS:
            self._coalescer.abandon(lookup.key, grant_id)
            self._pending_questions.pop(lookup.key, None)
            if self._shared is not None:
                self._spawn(self._shared.release(lookup.key))

    async def keep(self, grant: grant_pb2.Grant, answer: cache_pb2.Answer | None) -> bool:
        """Keep the answer to a granted request; `answer` is None if there will be none. Returns whether it was kept."""
        key = grant.keep.key
        question = self._pending_questions.pop(key, None)
        if answer is None or not self._is_acceptable(grant, answer):
            self._coalescer.abandon(key, grant.grant_id)
            if answer is not None:
                self._metrics.count_refused()
            if self._shared is not None:
                await self._shared.release(key)
            return False
        data = answer.SerializeToString()
        await self.put(key, data, keep_ms=grant.keep.keep_ms)
        if question is not None:
            self._index.add(question, key)
        return True

    async def put(self, key: bytes, data: bytes, *, keep_ms: int) -> None:
        """Keep a serialized answer."""
        kept = CachedAnswer(data, self._clock() + keep_ms)
        self._memory.put(key, kept)
        self._metrics.count_stored()
        self._coalescer.complete(key, data)
        if self._shared is not None:
            await self._shared.put(key, kept)
            await self._shared.release(key)

    async def replay(self, grant: grant_pb2.Grant) -> cache_pb2.Answer | None:
        """Return the answer that was promised to a request, waiting for it if need be; None if it is gone."""
        promised = self._promised.pop(grant.grant_id, None)
        data: bytes | None = None
        if promised is None:
            # Another router promised it, and Envoy could not reach that router.
            kept = await self.find(grant.replay.key)
            data = kept.data if kept is not None else None
        elif promised.pending is not None:
            data = await self._coalescer.wait(promised.pending)
        else:
            data = promised.data
        if data is None:
            return None
        try:
            return cache_pb2.Answer.FromString(data)
        except DecodeError:
            return None

    def clear(self) -> None:
        """Drop every answer here; those that are already promised are still given."""
        self._memory.clear()
        self._index.clear()
        self._pending_questions.clear()

    async def close(self) -> None:
        """Stop following the answers that other routers' requests are making."""
        await self._tasks.close()

    async def _join_other_router(self, shared: SharedAnswers, key: bytes, engine_id: str) -> PendingAnswer | None:
        """Return the answer that another router's request is making; None if this request is the one to make it."""
        making = await shared.claim(key, engine_id, wait_ms=int(self._settings.wait_s * 1000))
        # An equal request may have come here meanwhile.
        pending = self._coalescer.join(key)
        if pending is None and making:
            self._coalescer.begin(key, grant_id="", engine_id=making)
            pending = self._coalescer.join(key)
            if pending is not None:
                self._spawn(self._follow(shared, pending))
        return pending

    async def _follow(self, shared: SharedAnswers, pending: PendingAnswer) -> None:
        """Poll for the answer that another router's request is making, until it is there or nobody makes it."""
        try:
            while not pending.answer.done():
                # The order matters: a router stores the answer before it releases its claim.
                making = await shared.made_by(pending.key)
                kept = await shared.get(pending.key)
                if kept is not None:
                    self._memory.put(pending.key, kept)
                    self._coalescer.complete(pending.key, kept.data)
                elif not making:
                    return
                else:
                    await asyncio.sleep(_FOLLOW_S)
        except RedisUnavailable:
            return
        finally:
            # Nobody must go on waiting for an answer that is no longer polled for.
            self._coalescer.abandon(pending.key, "")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(work, name="cache-shared")

    def _usable(self, directives: CacheDirectives) -> bool:
        return bool(self.address) and self._rules.loaded and (not directives.tags or self._receives_changes())

    def _scope(self, principal: grant_pb2.Principal) -> str:
        if self._settings.share == "everyone":
            return "everyone"
        if self._settings.share == "key":
            return f"key {principal.key_id}"
        return f"tenant {principal.tenant_id}"

    def _identity(self, model: CatalogModel) -> bytes:
        known = self._identities.get(model.name)
        if known is None or known[0] is not model:
            known = self._identities[model.name] = (model, model_identity(model))
        return known[1]

    async def _find_similar(
        self,
        asked: CanonicalRequest,
        directives: CacheDirectives,
        key: bytes,
        *,
        model: CatalogModel,
        grant: grant_pb2.Grant,
    ) -> tuple[bytes, CachedAnswer] | None:
        """Return the answer to a question of the same meaning. If none, note the question."""
        vector = await self._embedder.vector(asked.question, grant.principal)
        if vector is None:
            return None
        frame = frame_key(
            asked,
            scope=self._scope(grant.principal),
            model=self._identity(model),
            system_prompt=grant.system_prompt,
            epochs=self._rules.epochs(grant.principal.tenant_id, directives.tags),
        )
        question = Question(frame, vector, traits(asked.question))
        similar = self._index.nearest(question, threshold=directives.semantic)
        if similar is not None:
            kept = await self.find(similar.key)
            if kept is not None:
                return similar.key, kept
            self._index.drop(frame, similar.key)
        self._pending_questions[key] = question
        if len(self._pending_questions) > _MAX_PENDING_QUESTIONS:
            self._pending_questions.popitem(last=False)
        return None

    def _request_storage(
        self, result: LookupResult, key: bytes, directives: CacheDirectives, grant: grant_pb2.Grant
    ) -> CacheLookup:
        grant.keep.key = key
        grant.keep.address = self.address
        grant.keep.most_bytes = self._settings.max_answer_bytes
        grant.keep.keep_ms = directives.keep_ms
        return self._count(CacheLookup(result, key))

    def _promise(
        self,
        result: LookupResult,
        key: bytes,
        grant: grant_pb2.Grant,
        data: bytes | None,
        pending: PendingAnswer | None,
    ) -> CacheLookup:
        now = self._clock()
        while self._promised:
            grant_id, oldest = next(iter(self._promised.items()))
            if oldest.until_ms > now and len(self._promised) < _MAX_PROMISED:
                break
            del self._promised[grant_id]
        self._promised[grant.grant_id] = PromisedAnswer(data, pending, grant.accept_by_ms)
        # Without a candidate no engine accepts the grant.
        del grant.candidates[:]
        grant.replay.key = key
        return self._count(CacheLookup(result, key))

    def _is_acceptable(self, grant: grant_pb2.Grant, answer: cache_pb2.Answer) -> bool:
        """Return whether this is a whole answer of the model that the request was looked up for."""
        if len(grant.keep.key) != 32 or grant.keep.keep_ms <= 0 or not grant.candidates:
            return False
        if answer.ByteSize() > self._settings.max_answer_bytes:
            return False
        kind = answer.WhichOneof("kind")
        if kind == "generated":
            generated = answer.generated
            ended = {delta.index for delta in generated.deltas if delta.finish_reason}
            whole = bool(ended) and all(delta.index in ended for delta in generated.deltas)
            cut = any(delta.stopped_by == generation_pb2.STOPPED_BY_BUDGET for delta in generated.deltas)
            return whole and not cut and generated.model == grant.candidates[0].model
        if kind == "embedded":
            return bool(answer.embedded.embeddings) and answer.embedded.model == grant.candidates[0].model
        return False

    def _count(self, lookup: CacheLookup) -> CacheLookup:
        self._metrics.count_lookup(lookup.result)
        return lookup

"""Looks for an answer that is there already, and takes those that engines hand over.

A lookup happens once a request is admitted and decided, before money is reserved: what it answers costs nothing. It
does no I/O but for what was asked for: Redis where it is configured, a vector where the key's policy wants one.
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
from enginehouse.router.cache._canonical import Canonical, answer_key, canonical, frame_key, model_identity
from enginehouse.router.cache._coalescer import Flight, RequestCoalescer
from enginehouse.router.cache._embedder import Embedder
from enginehouse.router.cache._guard import traits
from enginehouse.router.cache._memory import AnswerMemory, Kept
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._semantic import Question, SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CacheRules
from enginehouse.router.cache._terms import CacheTerms, Terms
from enginehouse.router.clock import Clock
from enginehouse.router.redis import RedisAway

# Questions whose answers are being made; one that is lost is found again by its next asker.
_MOST_PENDING = 4096
_MOST_PINNED = 10_000
# How often a router looks for an answer that another makes.
_FOLLOW_S = 0.05


class Result(enum.StrEnum):
    """What came of a lookup, as the response header `x-enginehouse-cache` says it."""

    HIT = "hit"
    SEMANTIC = "semantic"
    SHARED = "shared"
    MISS = "miss"
    REFRESH = "refresh"
    BYPASS = "bypass"


@dataclasses.dataclass(frozen=True, slots=True)
class CacheLookup:
    """What a lookup found.

    Attributes:
        result: what came of it.
        key: what the answer is, or will be, kept under; empty for a bypass.
    """

    result: Result
    key: bytes = b""

    @property
    def answered(self) -> bool:
        """Whether the replay endpoint answers, and no engine."""
        return self.result in _ANSWERED


_ANSWERED = frozenset({Result.HIT, Result.SEMANTIC, Result.SHARED})


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned:
    """An answer promised to a request: there already, or on its way."""

    data: bytes | None
    flight: Flight | None
    until_ms: int


class ResponseCache:
    """One router's cache.

    Args:
        settings: bounds and times.
        rules: tags and policies.
        memory: the answers here.
        shared: those in Redis; None without.
        flights: answers being made.
        index: questions that answers may be shared among.
        embedder: makes vectors of them.
        metrics: counts.
        clock: milliseconds since 1970 UTC.
        hears_changes: whether invalidations arrive; while they don't, no answer with tags is given.
    """

    def __init__(
        self,
        *,
        settings: CacheSettings,
        rules: CacheRules,
        memory: AnswerMemory,
        shared: SharedAnswers | None,
        flights: RequestCoalescer,
        index: SemanticIndex,
        embedder: Embedder,
        metrics: CacheMetrics,
        clock: Clock,
        hears_changes: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._terms = CacheTerms(settings=settings)
        self._memory = memory
        self._shared = shared
        self._flights = flights
        self._index = index
        self._embedder = embedder
        self._metrics = metrics
        self._clock = clock
        self._hears_changes = hears_changes
        self._identities: dict[str, tuple[CatalogModel, bytes]] = {}
        self._pending: OrderedDict[bytes, Question] = OrderedDict()
        self._pinned: OrderedDict[str, Pinned] = OrderedDict()
        self._tasks = TaskSet()
        self.address = ""
        """Where the replay endpoint listens, as Envoy and engines reach it; set once it does."""

    def terms(self, headers: Mapping[bytes, bytes], key_ids: Sequence[str]) -> Terms | None:
        """How a request uses the cache; None where it has nothing to do with it.

        `key_ids` are its key and the keys that it was made with, nearest first: the first that has a policy counts.

        Raises:
            ServiceError: INVALID_REQUEST for a header that cannot be read.
        """
        return self._terms.of(headers, next(filter(None, map(self._rules.policy, key_ids)), None))

    async def look(
        self, terms: Terms, *, method: str, message: bytes, model: CatalogModel, engine_id: str, grant: grant_pb2.Grant
    ) -> CacheLookup:
        """Looks for the answer to a call, and turns its grant into one that gets or keeps it.

        A grant for what is found is good at the replay endpoint alone; a grant for what is not asks the engine to hand
        its answer over.

        Args:
            terms: how the request uses the cache.
            method: the full method.
            message: the request message.
            model: the model chosen.
            engine_id: the engine that would serve it.
            grant: the grant that is being made for it.
        """
        asked = canonical(method, message) if self._usable(terms) else None
        if asked is None or (terms.deterministic_only and not asked.deterministic):
            return self._counted(CacheLookup(Result.BYPASS))
        key = self.key_of(asked, terms, model=model, principal=grant.principal, system_prompt=grant.system_prompt)
        if not terms.reads:
            return self._keeping(Result.REFRESH, key, terms, grant)
        kept = await self.find(key)
        if kept is not None:
            return self._promised(Result.HIT, key, grant, kept.data, None)
        flight = self._flights.join(key)
        if flight is None and terms.semantic and asked.frame:
            near = await self._near(asked, terms, key, model=model, grant=grant)
            if near is not None:
                return self._promised(Result.SEMANTIC, near[0], grant, near[1].data, None)
            # An equal question may have come while the vector was made.
            flight = self._flights.join(key)
        if flight is None and self._shared is not None and self._settings.wait_s > 0:
            flight = await self._elsewhere(self._shared, key, engine_id)
        if flight is not None:
            return self._promised(Result.SHARED, key, grant, None, flight)
        self._flights.begin(key, grant_id=grant.grant_id, engine_id=engine_id)
        return self._keeping(Result.MISS, key, terms, grant)

    def key_of(
        self,
        asked: Canonical,
        terms: Terms,
        *,
        model: CatalogModel,
        principal: grant_pb2.Principal,
        system_prompt: str = "",
    ) -> bytes:
        """What the answer to a request is kept under."""
        return answer_key(
            asked,
            scope=self._scope(principal),
            model=self._identity(model),
            system_prompt=system_prompt,
            epochs=self._rules.epochs(principal.tenant_id, terms.tags),
        )

    async def find(self, key: bytes) -> Kept | None:
        """The answer kept under a key, here or in Redis."""
        kept = self._memory.get(key)
        if kept is None and self._shared is not None:
            kept = await self._shared.get(key)
            if kept is not None:
                self._memory.put(key, kept)
        return kept

    def abandon(self, look: CacheLookup, grant_id: str) -> None:
        """The request that was looked up will not be served after all."""
        if look.result is Result.MISS:
            self._flights.abandon(look.key, grant_id)
            self._pending.pop(look.key, None)
            if self._shared is not None:
                self._begin(self._shared.release(look.key))

    async def keep(self, grant: grant_pb2.Grant, answer: cache_pb2.Answer | None) -> bool:
        """Takes the answer to a granted request, or the news that there is none; whether it is kept."""
        key = grant.keep.key
        question = self._pending.pop(key, None)
        if answer is None or not self._acceptable(grant, answer):
            self._flights.abandon(key, grant.grant_id)
            if answer is not None:
                self._metrics.refused()
            if self._shared is not None:
                await self._shared.release(key)
            return False
        data = answer.SerializeToString()
        await self.put(key, data, keep_ms=grant.keep.keep_ms)
        if question is not None:
            self._index.add(question, key)
        return True

    async def put(self, key: bytes, data: bytes, *, keep_ms: int) -> None:
        """Keeps a serialized answer."""
        kept = Kept(data, self._clock() + keep_ms)
        self._memory.put(key, kept)
        self._metrics.stored()
        self._flights.complete(key, data)
        if self._shared is not None:
            await self._shared.put(key, kept)
            await self._shared.release(key)

    async def replayed(self, grant: grant_pb2.Grant) -> cache_pb2.Answer | None:
        """The answer that was promised to a request, waited for if need be; None if it is gone."""
        pinned = self._pinned.pop(grant.grant_id, None)
        data: bytes | None = None
        if pinned is None:
            # Promised by another router, which Envoy could not reach.
            kept = await self.find(grant.replay.key)
            data = kept.data if kept is not None else None
        elif pinned.flight is not None:
            data = await self._flights.wait(pinned.flight)
        else:
            data = pinned.data
        if data is None:
            return None
        try:
            return cache_pb2.Answer.FromString(data)
        except DecodeError:
            return None

    def forget(self) -> None:
        """Lets go of every answer here; those that are given out already are not called back."""
        self._memory.clear()
        self._index.clear()
        self._pending.clear()

    async def close(self) -> None:
        """Stops looking for answers that other routers wait for."""
        await self._tasks.close()

    async def _elsewhere(self, shared: SharedAnswers, key: bytes, engine_id: str) -> Flight | None:
        """The flight to wait for where another router's request is being served; else the answer is ours to make."""
        making = await shared.claim(key, engine_id, wait_ms=int(self._settings.wait_s * 1000))
        # An equal request may have come here meanwhile.
        flight = self._flights.join(key)
        if flight is None and making:
            self._flights.begin(key, grant_id="", engine_id=making)
            flight = self._flights.join(key)
            if flight is not None:
                self._begin(self._follow(shared, flight))
        return flight

    async def _follow(self, shared: SharedAnswers, flight: Flight) -> None:
        """Looks for the answer that another router's request makes, until it is there or nobody makes it."""
        try:
            while not flight.landed.done():
                # In this order: the answer is there before its making ends.
                making = await shared.made_by(flight.key)
                kept = await shared.get(flight.key)
                if kept is not None:
                    self._memory.put(flight.key, kept)
                    self._flights.complete(flight.key, kept.data)
                elif not making:
                    return
                else:
                    await asyncio.sleep(_FOLLOW_S)
        except RedisAway:
            return
        finally:
            # Whatever ended this: nobody waits for what nobody looks for.
            self._flights.abandon(flight.key, "")

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.spawn(work, name="cache-shared")

    def _usable(self, terms: Terms) -> bool:
        return bool(self.address) and self._rules.loaded and (not terms.tags or self._hears_changes())

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

    async def _near(
        self, asked: Canonical, terms: Terms, key: bytes, *, model: CatalogModel, grant: grant_pb2.Grant
    ) -> tuple[bytes, Kept] | None:
        """The answer to a question of the same meaning. Notes the question, for its own answer, where there is none."""
        vector = await self._embedder.vector(asked.question, grant.principal)
        if vector is None:
            return None
        frame = frame_key(
            asked,
            scope=self._scope(grant.principal),
            model=self._identity(model),
            system_prompt=grant.system_prompt,
            epochs=self._rules.epochs(grant.principal.tenant_id, terms.tags),
        )
        question = Question(frame, vector, traits(asked.question))
        near = self._index.nearest(question, threshold=terms.semantic)
        if near is not None:
            kept = await self.find(near.key)
            if kept is not None:
                return near.key, kept
            self._index.drop(frame, near.key)
        self._pending[key] = question
        if len(self._pending) > _MOST_PENDING:
            self._pending.popitem(last=False)
        return None

    def _keeping(self, result: Result, key: bytes, terms: Terms, grant: grant_pb2.Grant) -> CacheLookup:
        grant.keep.key = key
        grant.keep.address = self.address
        grant.keep.most_bytes = self._settings.max_answer_bytes
        grant.keep.keep_ms = terms.keep_ms
        return self._counted(CacheLookup(result, key))

    def _promised(
        self, result: Result, key: bytes, grant: grant_pb2.Grant, data: bytes | None, flight: Flight | None
    ) -> CacheLookup:
        now = self._clock()
        while self._pinned:
            grant_id, oldest = next(iter(self._pinned.items()))
            if oldest.until_ms > now and len(self._pinned) < _MOST_PINNED:
                break
            del self._pinned[grant_id]
        self._pinned[grant.grant_id] = Pinned(data, flight, grant.accept_by_ms)
        # No engine can take it: it names no model.
        del grant.candidates[:]
        grant.replay.key = key
        return self._counted(CacheLookup(result, key))

    def _acceptable(self, grant: grant_pb2.Grant, answer: cache_pb2.Answer) -> bool:
        """Whether it is a whole answer of the model that the request was looked up for."""
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

    def _counted(self, look: CacheLookup) -> CacheLookup:
        self._metrics.looked(look.result)
        return look

"""One router's cache over a database, driven by hand."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import cache_pb2, grant_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.grants import GrantKeys
from enginehouse.router.cache import (
    CACHE_CHANNEL,
    AnswerMemory,
    CacheLookup,
    CacheMetrics,
    CacheRules,
    CacheSettings,
    CacheStore,
    DirectiveParser,
    HitRecorder,
    QuestionEmbedder,
    RequestCoalescer,
    ResponseCache,
    SemanticIndex,
    SharedAnswers,
)
from enginehouse.router.database import Listener
from enginehouse.router.redis import SharedRedis

KEYS = GrantKeys({"k": b"s" * 32})
GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
DEADLINE_S = 60
USE = {b"x-enginehouse-cache": b"use"}


def chat_model(**changes: Any) -> CatalogModel:
    """A model of a catalog, with changes."""
    facts: dict[str, Any] = {
        "name": "tiny",
        "cluster": "inference",
        "backend": "llama.cpp",
        "source": "bundled:tiny.gguf",
        "context_tokens": 512,
        "max_output_tokens": 64,
        "capabilities": frozenset({"chat"}),
        "quality": 0.1,
        "prices": {},
        "options": {},
    }
    return CatalogModel(**{**facts, **changes})


TINY = chat_model(name="tiny")


class CacheClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def seconds(self) -> float:
        """The time in seconds, as monotonic clocks give it."""
        return self.now_ms / 1000


class CacheReplica:
    """One router's cache, without the rest of it."""

    def __init__(
        self,
        database: AsyncEngine,
        *,
        clock: CacheClock,
        redis: SharedRedis | None = None,
        settings: CacheSettings | None = None,
        alive: set[str] | None = None,
    ) -> None:
        self.clock = clock
        self.settings = settings or CacheSettings()
        self.store = CacheStore(database=database)
        self.rules = CacheRules(store=self.store)
        self.listener = Listener(
            database=database, handlers={CACHE_CHANNEL: self.rules.changed}, on_connect=self.rules.reload
        )
        self.memory = AnswerMemory(max_bytes=self.settings.max_bytes, clock=clock)
        self.metrics = CacheMetrics(registry=CollectorRegistry())
        live = {"engine-1"} if alive is None else alive
        self.coalescer = RequestCoalescer(wait_s=30, max_waiting=100, alive=live.__contains__, now_s=clock.seconds)
        shared = SharedAnswers(redis=redis, timeout_s=DEADLINE_S, max_bytes=1 << 20, clock=clock) if redis else None
        self.cache = ResponseCache(
            settings=self.settings,
            rules=self.rules,
            memory=self.memory,
            shared=shared,
            coalescer=self.coalescer,
            index=SemanticIndex(max_entries=10),
            embedder=QuestionEmbedder(model="m", engines=lambda _: (), grant_keys=KEYS, clock=clock, timeout_s=0.1),
            metrics=self.metrics,
            clock=clock,
            receives_changes=lambda: self.listener.connected,
        )
        self.cache.address = "127.0.0.1:1"
        self.hits = HitRecorder(
            database=database, engine_id="cache-1", service_of=lambda grant, name: "inference", clock=clock
        )
        self._numbers = iter(range(1, 1_000_000))

    def grant(self, *, method: str = GENERATE, tenant: str = "ten_1", key: str = "key_1") -> grant_pb2.Grant:
        """A grant that the cache may fill in."""
        now = self.clock()
        return grant_pb2.Grant(
            grant_id=f"grn_{next(self._numbers)}",
            request_id="req_1",
            attempt=1,
            method=method,
            principal=grant_pb2.Principal(tenant_id=tenant, key_id=key),
            candidates=[grant_pb2.GrantCandidate(model="tiny", cap_nanos=1000)],
            issued_at_ms=now,
            accept_by_ms=now + 10_000,
            expires_at_ms=now + 60_000,
        )

    async def lookup(
        self, text: str = "Hello?", *, grant: grant_pb2.Grant | None = None, headers: dict[bytes, bytes] | None = None
    ) -> tuple[CacheLookup, grant_pb2.Grant]:
        """Look for the answer to a prompt."""
        grant = grant or self.grant()
        directives = DirectiveParser(settings=self.settings).parse(USE | (headers or {}), self.rules.policy("key_1"))
        assert directives is not None
        request = generation_pb2.GenerateRequest(prompt=text, sampling=generation_pb2.Sampling(temperature=0))
        found = await self.cache.lookup(
            directives,
            method=GENERATE,
            message=request.SerializeToString(),
            model=TINY,
            engine_id="engine-1",
            grant=grant,
        )
        return found, grant


def answer(text: str = "Hello!", **changes: Any) -> cache_pb2.Answer:
    """A whole answer, with changes."""
    last = generation_pb2.ChoiceDelta(text=text[2:], finish_reason=generation_pb2.FINISH_REASON_STOP, token_count=2)
    made: dict[str, Any] = {
        "model": "tiny",
        "deltas": [generation_pb2.ChoiceDelta(text=text[:2], token_count=1), last],
        "usage": usage_pb2.Usage(
            units=[usage_pb2.UnitAmount(unit=usage_pb2.UNIT_INPUT_TOKENS, amount=3)], cost_nanos=77
        ),
    }
    return cache_pb2.Answer(generated=cache_pb2.GeneratedAnswer(**(made | changes)))

"""The cache as one module that a router process starts, serves and closes."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.tasks import close_all
from enginehouse.router.cache._cache import ResponseCache
from enginehouse.router.cache._coalescer import RequestCoalescer
from enginehouse.router.cache._embedder import QuestionEmbedder
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.cache._memory import AnswerMemory
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._semantic import SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CacheRules, CacheStore
from enginehouse.router.clock import Clock
from enginehouse.router.database import Listener
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.ledger import UsageReportParser
from enginehouse.router.redis import SharedRedis


class CacheModule:
    """One router's cache.

    Args:
        settings: bounds and times.
        router_id: this router's name.
        database: holds tags, policies and the record of hits.
        redis: shared with other routers; None if there is no Redis.
        fleet: the live engines, some of which embed questions.
        reports: knows a model's kind of engine.
        grant_keys: the keys that sign and verify grants.
        registry: the registry of the counters.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        settings: CacheSettings,
        router_id: str,
        database: AsyncEngine,
        redis: SharedRedis | None,
        fleet: Fleet,
        reports: UsageReportParser,
        grant_keys: GrantKeys,
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self.store = CacheStore(database=database)
        self.rules = CacheRules(store=self.store)
        self.metrics = CacheMetrics(registry=registry)
        self.memory = AnswerMemory(max_bytes=settings.max_bytes, clock=clock)
        self.shared: SharedAnswers | None = None
        if redis is not None:
            self.shared = SharedAnswers(
                redis=redis, timeout_s=settings.shared_timeout_s, max_bytes=settings.max_answer_bytes, clock=clock
            )
        self._coalescer = RequestCoalescer(
            wait_s=settings.wait_s,
            max_waiting=settings.max_waiting,
            alive=lambda engine_id: engine_id in fleet.spending_engines(),
            now_s=time.monotonic,
        )
        self._embedder = QuestionEmbedder(
            model=settings.semantic_model,
            engines=fleet.serving,
            grant_keys=grant_keys,
            clock=clock,
            timeout_s=settings.semantic_timeout_s,
        )
        self._listener: Listener | None = None
        index = SemanticIndex(max_entries=settings.semantic_entries)
        self.answers = ResponseCache(
            settings=settings,
            rules=self.rules,
            memory=self.memory,
            shared=self.shared,
            coalescer=self._coalescer,
            index=index,
            embedder=self._embedder,
            metrics=self.metrics,
            clock=clock,
            receives_changes=lambda: self._listener is not None and self._listener.connected,
        )
        registry.register(_CacheGauges(self.memory, self._coalescer, index))
        self.hits = HitRecorder(
            database=database, engine_id=f"cache-{router_id}"[:64], service_of=reports.service_of, clock=clock
        )

    def start(self, *, address: str, listener: Listener) -> None:
        """Start giving answers.

        Args:
            address: the address at which Envoy and engines reach the services, "ip:port".
            listener: receives the changes that other routers make.
        """
        self._listener = listener
        self.answers.address = address
        self.hits.start()

    async def close(self) -> None:
        """Write the last hits and close the connections to engines."""
        await close_all(self.answers.close, self.hits.close, self._embedder.close)


class _CacheGauges(Collector):
    """The present sizes, as Prometheus reads them."""

    def __init__(self, memory: AnswerMemory, coalescer: RequestCoalescer, index: SemanticIndex) -> None:
        self._memory = memory
        self._coalescer = coalescer
        self._index = index

    def collect(self) -> list[GaugeMetricFamily]:
        """Return the present values."""
        return [
            GaugeMetricFamily("enginehouse_router_cache_entries", "Answers in memory.", value=len(self._memory)),
            GaugeMetricFamily("enginehouse_router_cache_bytes", "What they take.", value=self._memory.bytes),
            GaugeMetricFamily("enginehouse_router_cache_questions", "Questions searched.", value=len(self._index)),
            GaugeMetricFamily(
                "enginehouse_router_cache_waiting",
                "Requests that wait for the answer to an equal one.",
                value=self._coalescer.waiting,
            ),
        ]

"""The cache's section of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import pydantic

from enginehouse.api.router.v1 import cache_pb2
from enginehouse.kit.config import Section

_DAY_S = 86_400

CLASSES: Mapping[str, int] = MappingProxyType(
    {
        "factual": cache_pb2.CACHE_CLASS_FACTUAL,
        "practice": cache_pb2.CACHE_CLASS_PRACTICE,
        "curriculum": cache_pb2.CACHE_CLASS_CURRICULUM,
        "personal": cache_pb2.CACHE_CLASS_PERSONAL,
    }
)
"""The classes by their names in headers."""

MODES: Mapping[str, int] = MappingProxyType(
    {
        "never": cache_pb2.CACHE_MODE_NEVER,
        "asked": cache_pb2.CACHE_MODE_ASKED,
        "deterministic": cache_pb2.CACHE_MODE_DETERMINISTIC,
        "always": cache_pb2.CACHE_MODE_ALWAYS,
    }
)
"""The modes by name."""


class CacheSettings(Section):
    """The answers that are kept, for whom, and for how long."""

    mode: Literal["never", "asked", "deterministic", "always"] = "asked"
    """When the cache is used for keys without a policy of their own. `asked`: only if a request's header says so."""
    default_class: Literal["factual", "practice", "curriculum", "personal"] = "practice"
    """The class of requests that name none."""
    share: Literal["tenant", "key", "everyone"] = "tenant"
    """Who may be given an answer: its tenant's keys, only the key that asked, or every tenant."""
    factual_s: float = pydantic.Field(default=7 * _DAY_S, gt=0)
    """Seconds that answers of class `factual` are kept."""
    practice_s: float = pydantic.Field(default=_DAY_S, gt=0)
    """Seconds that answers of class `practice` (exercises and drafts) are kept."""
    curriculum_s: float = pydantic.Field(default=30 * _DAY_S, gt=0)
    """Seconds that answers of class `curriculum` are kept."""
    max_bytes: int = pydantic.Field(default=64 << 20, ge=1 << 16)
    """The most bytes of answers in this router's memory; beyond them the least recently used are evicted."""
    max_answer_bytes: int = pydantic.Field(default=256 << 10, ge=1 << 10, le=8 << 20)
    """The largest answer that is kept."""
    wait_s: float = pydantic.Field(default=30.0, ge=0, le=600)
    """Seconds that a request may wait for the answer to an equal request; with 0 no request waits."""
    max_waiting: int = pydantic.Field(default=1000, ge=0)
    """The most requests that wait at once; further ones go to an engine."""
    shared_timeout_s: float = pydantic.Field(default=0.05, gt=0, le=1)
    """Seconds that Redis may take to answer a lookup, if it is configured."""
    semantic_model: str = "all-minilm-l6-v2"
    """The catalog's model that embeds questions."""
    semantic_threshold: float = pydantic.Field(default=0.9, gt=0, le=1)
    """The cosine from which two questions count as one, for keys that set none."""
    semantic_timeout_s: float = pydantic.Field(default=0.25, gt=0, le=1.5)
    """Seconds that an engine may take to embed a question; after that the lookup is a miss."""
    semantic_entries: int = pydantic.Field(default=20_000, ge=1)
    """The most questions that are searched, over all tenants."""

    def keep_s(self, cache_class: int) -> float:
        """Return how many seconds answers of a class are kept; 0 for never."""
        times: Mapping[int, float] = {
            cache_pb2.CACHE_CLASS_FACTUAL: self.factual_s,
            cache_pb2.CACHE_CLASS_PRACTICE: self.practice_s,
            cache_pb2.CACHE_CLASS_CURRICULUM: self.curriculum_s,
        }
        return times.get(cache_class, 0.0)

"""The cache's part of the configuration."""

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
"""The classes by the words that headers use."""

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
    """What is kept, for whom and how long."""

    mode: Literal["never", "asked", "deterministic", "always"] = "asked"
    """When the cache is used for keys without a policy of their own. `asked`: where a request's header says so."""
    default_class: Literal["factual", "practice", "curriculum", "personal"] = "practice"
    """The class of requests that name none."""
    share: Literal["tenant", "key", "everyone"] = "tenant"
    """Who may be given an answer: its tenant's keys, the key that asked alone, or every tenant."""
    factual_s: float = pydantic.Field(default=7 * _DAY_S, gt=0)
    """How long facts are kept."""
    practice_s: float = pydantic.Field(default=_DAY_S, gt=0)
    """How long exercises and drafts are kept."""
    curriculum_s: float = pydantic.Field(default=30 * _DAY_S, gt=0)
    """How long what a curriculum says is kept."""
    max_bytes: int = pydantic.Field(default=64 << 20, ge=1 << 16)
    """What the answers in this router's memory may take; the least recently used give way."""
    max_answer_bytes: int = pydantic.Field(default=256 << 10, ge=1 << 10, le=8 << 20)
    """The largest answer that is kept."""
    wait_s: float = pydantic.Field(default=30.0, ge=0, le=600)
    """How long a request may wait for the answer that is being made for an equal one; 0 lets none wait."""
    max_waiting: int = pydantic.Field(default=1000, ge=0)
    """How many requests may wait at once; more go ahead on their own."""
    shared_timeout_s: float = pydantic.Field(default=0.05, gt=0, le=1)
    """How long Redis may take to answer a lookup, where it is configured."""
    semantic_model: str = "all-minilm-l6-v2"
    """The catalog's model that makes vectors of questions."""
    semantic_threshold: float = pydantic.Field(default=0.9, gt=0, le=1)
    """From which cosine two questions count as one, for keys that set none."""
    semantic_timeout_s: float = pydantic.Field(default=0.25, gt=0, le=1.5)
    """How long an engine may take to make a vector; then the lookup counts as a miss."""
    semantic_entries: int = pydantic.Field(default=20_000, ge=1)
    """How many questions are searched at most, over all tenants."""

    def keep_s(self, cache_class: int) -> float:
        """How long answers of a class are kept, in seconds; 0 for never."""
        times: Mapping[int, float] = {
            cache_pb2.CACHE_CLASS_FACTUAL: self.factual_s,
            cache_pb2.CACHE_CLASS_PRACTICE: self.practice_s,
            cache_pb2.CACHE_CLASS_CURRICULUM: self.curriculum_s,
        }
        return times.get(cache_class, 0.0)

"""Answers that are there already: kept as engines finish them, given again by the replay endpoint, at no cost.

A lookup sits between the decision and the reservation. What it finds is promised to the request by a grant for the
replay endpoint, which is this router's own; what it does not find, the grant asks the engine to hand over. No answer
passes through a router on its way from an engine to a client.
"""

from enginehouse.router.cache._cache import CacheLookup, ResponseCache, Result
from enginehouse.router.cache._canonical import Canonical, answer_key, canonical, model_identity
from enginehouse.router.cache._coalescer import Flight, RequestCoalescer
from enginehouse.router.cache._embedder import Embedder
from enginehouse.router.cache._evaluation import Pair, Rates, add_evaluate_cache, rates
from enginehouse.router.cache._guard import Traits, conflict, traits
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.cache._memory import AnswerMemory, Kept
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._module import CacheModule
from enginehouse.router.cache._semantic import Question, SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CACHE_CHANNEL, CacheRules, CacheStore, KeyPolicy
from enginehouse.router.cache._terms import CacheTerms, Terms

__all__ = [
    "CACHE_CHANNEL",
    "AnswerMemory",
    "CacheLookup",
    "CacheMetrics",
    "CacheModule",
    "CacheRules",
    "CacheSettings",
    "CacheStore",
    "CacheTerms",
    "Canonical",
    "Embedder",
    "Flight",
    "HitRecorder",
    "Kept",
    "KeyPolicy",
    "Pair",
    "Question",
    "Rates",
    "RequestCoalescer",
    "ResponseCache",
    "Result",
    "SemanticIndex",
    "SharedAnswers",
    "Terms",
    "Traits",
    "add_evaluate_cache",
    "answer_key",
    "canonical",
    "conflict",
    "model_identity",
    "rates",
    "traits",
]

"""Answers that are there already: kept as engines finish them, given again by the replay endpoint, at no cost.

A lookup sits between the decision and the reservation. What it finds is promised to the request by a grant for the
replay endpoint, which is this router's own; what it does not find, the grant asks the engine to hand over. No answer
passes through a router on its way from an engine to a client.
"""

from enginehouse.router.cache._admin import CacheServicer
from enginehouse.router.cache._answers import AnswerServicer
from enginehouse.router.cache._cache import Look, ResponseCache, Result
from enginehouse.router.cache._canonical import Canonical, answer_key, canonical, model_identity
from enginehouse.router.cache._embedder import Embedder
from enginehouse.router.cache._evaluation import Pair, Rates, add_evaluate_cache, rates
from enginehouse.router.cache._flights import Flight, Flights
from enginehouse.router.cache._guard import Traits, conflict, traits
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.cache._memory import AnswerMemory, Kept
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._part import CachePart
from enginehouse.router.cache._replay import ReplayCall, ReplayCalls, ReplayEngine, ReplayServicer
from enginehouse.router.cache._semantic import Question, SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CACHE_CHANNEL, CacheRules, CacheStore, KeyPolicy
from enginehouse.router.cache._terms import CacheTerms, Terms

__all__ = [
    "CACHE_CHANNEL",
    "AnswerMemory",
    "AnswerServicer",
    "CacheMetrics",
    "CachePart",
    "CacheRules",
    "CacheServicer",
    "CacheSettings",
    "CacheStore",
    "CacheTerms",
    "Canonical",
    "Embedder",
    "Flight",
    "Flights",
    "HitRecorder",
    "Kept",
    "KeyPolicy",
    "Look",
    "Pair",
    "Question",
    "Rates",
    "ReplayCall",
    "ReplayCalls",
    "ReplayEngine",
    "ReplayServicer",
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

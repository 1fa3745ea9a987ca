"""The response cache: answers are kept as engines finish them, and the replay endpoint gives them again at no cost.

A lookup sits between the decision and the reservation. On a hit the request's grant names the replay endpoint, which
is this router's own. On a miss the grant asks the engine to hand its answer over. No answer passes through a router on
its way from an engine to a client.
"""

from enginehouse.router.cache._cache import CacheLookup, LookupResult, ResponseCache
from enginehouse.router.cache._canonical import CanonicalRequest, answer_key, canonicalize, model_identity
from enginehouse.router.cache._coalescer import PendingAnswer, RequestCoalescer
from enginehouse.router.cache._directives import CacheDirectives, DirectiveParser
from enginehouse.router.cache._embedder import QuestionEmbedder
from enginehouse.router.cache._evaluation import QuestionPair, Rates, add_evaluate_cache, rates
from enginehouse.router.cache._guard import Traits, conflict, traits
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.cache._memory import AnswerMemory, CachedAnswer
from enginehouse.router.cache._metrics import CacheMetrics
from enginehouse.router.cache._module import CacheModule
from enginehouse.router.cache._semantic import Question, SemanticIndex
from enginehouse.router.cache._settings import CacheSettings
from enginehouse.router.cache._shared import SharedAnswers
from enginehouse.router.cache._store import CACHE_CHANNEL, CacheRules, CacheStore, KeyPolicy

__all__ = [
    "CACHE_CHANNEL",
    "AnswerMemory",
    "CacheDirectives",
    "CacheLookup",
    "CacheMetrics",
    "CacheModule",
    "CacheRules",
    "CacheSettings",
    "CacheStore",
    "CachedAnswer",
    "CanonicalRequest",
    "DirectiveParser",
    "HitRecorder",
    "KeyPolicy",
    "LookupResult",
    "PendingAnswer",
    "Question",
    "QuestionEmbedder",
    "QuestionPair",
    "Rates",
    "RequestCoalescer",
    "ResponseCache",
    "SemanticIndex",
    "SharedAnswers",
    "Traits",
    "add_evaluate_cache",
    "answer_key",
    "canonicalize",
    "conflict",
    "model_identity",
    "rates",
    "traits",
]

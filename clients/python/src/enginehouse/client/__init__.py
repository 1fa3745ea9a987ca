"""The Python client: text, embeddings, speech and administration of a mesh, over gRPC.

    from enginehouse.client import Enginehouse

    with Enginehouse("http://127.0.0.1:8080", "eh_...") as mesh:
        answer = mesh.generate("Tell me a story about a clever crow")
        print(answer.text, answer.cost_nanos)

`AsyncEnginehouse` is the same with `await`. Every failure is an `EnginehouseError`.
"""

from enginehouse.client._aio import AsyncEnginehouse, AsyncGenerationStream
from enginehouse.client._aio_admin import AsyncAdmin
from enginehouse.client._aio_cache import AsyncCache
from enginehouse.client._aio_identity import AsyncIdentity
from enginehouse.client._aio_money import AsyncMoney
from enginehouse.client._aio_streams import AsyncListeningStream, AsyncSpeechStream, AsyncSpokenConversation
from enginehouse.client._sync import Enginehouse, GenerationStream
from enginehouse.client._sync_admin import Admin
from enginehouse.client._sync_cache import Cache
from enginehouse.client._sync_identity import Identity
from enginehouse.client._sync_money import Money
from enginehouse.client._sync_streams import ListeningStream, SpeechStream, SpokenConversation
from enginehouse.client.answers import Embeddings, Generation, ToolCall
from enginehouse.client.conversation import Message, Tool
from enginehouse.client.errors import (
    BudgetExhausted,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    EnginehouseError,
    FieldViolation,
    IncompleteError,
    IncompleteSpeechError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFault,
    Unauthenticated,
    Unavailable,
)
from enginehouse.client.heard import Heard, ListeningSummary, Transcript
from enginehouse.client.retries import RetryPolicy
from enginehouse.client.spoken import SpeechSummary, SpokenPiece

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncCache",
    "AsyncEnginehouse",
    "AsyncGenerationStream",
    "AsyncIdentity",
    "AsyncListeningStream",
    "AsyncMoney",
    "AsyncSpeechStream",
    "AsyncSpokenConversation",
    "BudgetExhausted",
    "Cache",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "Embeddings",
    "Enginehouse",
    "EnginehouseError",
    "FieldViolation",
    "Generation",
    "GenerationStream",
    "Heard",
    "Identity",
    "IncompleteError",
    "IncompleteSpeechError",
    "InvalidRequest",
    "ListeningStream",
    "ListeningSummary",
    "Message",
    "Money",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "RetryPolicy",
    "ServerFault",
    "SpeechStream",
    "SpeechSummary",
    "SpokenConversation",
    "SpokenPiece",
    "Tool",
    "ToolCall",
    "Transcript",
    "Unauthenticated",
    "Unavailable",
]

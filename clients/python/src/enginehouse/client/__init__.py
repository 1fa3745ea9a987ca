"""The Python client: text, embeddings, speech and administration of a mesh, over gRPC.

    from enginehouse.client import Enginehouse

    with Enginehouse("http://127.0.0.1:8080", "eh_...") as mesh:
        answer = mesh.generate("Tell me a story about a clever crow")
        print(answer.text, answer.cost_nanos)

`AsyncEnginehouse` is the same with `await`. Every failure is an `EnginehouseError`.
"""

from enginehouse.client._aio import AsyncEnginehouse, AsyncGenerationStream
from enginehouse.client._aio_admin import AsyncAdmin
from enginehouse.client._aio_billing import AsyncBilling
from enginehouse.client._aio_cache import AsyncCache
from enginehouse.client._aio_identity import AsyncIdentity
from enginehouse.client._aio_streams import AsyncConversationStream, AsyncSpeechStream, AsyncTranscriptionStream
from enginehouse.client._sync import Enginehouse, GenerationStream
from enginehouse.client._sync_admin import Admin
from enginehouse.client._sync_billing import Billing
from enginehouse.client._sync_cache import Cache
from enginehouse.client._sync_identity import Identity
from enginehouse.client._sync_streams import ConversationStream, SpeechStream, TranscriptionStream
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
from enginehouse.client.generation import Embeddings, Generation, ToolCall
from enginehouse.client.requests.generation import Message, Tool
from enginehouse.client.retries import RetryPolicy
from enginehouse.client.speech import ConversationEvent, SpeechSummary
from enginehouse.client.transcription import Transcript, TranscriptionEvent, TranscriptionSummary

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncBilling",
    "AsyncCache",
    "AsyncConversationStream",
    "AsyncEnginehouse",
    "AsyncGenerationStream",
    "AsyncIdentity",
    "AsyncSpeechStream",
    "AsyncTranscriptionStream",
    "Billing",
    "BudgetExhausted",
    "Cache",
    "Cancelled",
    "Conflict",
    "ConversationEvent",
    "ConversationStream",
    "DeadlineExceeded",
    "Embeddings",
    "Enginehouse",
    "EnginehouseError",
    "FieldViolation",
    "Generation",
    "GenerationStream",
    "Identity",
    "IncompleteError",
    "IncompleteSpeechError",
    "InvalidRequest",
    "Message",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "RetryPolicy",
    "ServerFault",
    "SpeechStream",
    "SpeechSummary",
    "Tool",
    "ToolCall",
    "Transcript",
    "TranscriptionEvent",
    "TranscriptionStream",
    "TranscriptionSummary",
    "Unauthenticated",
    "Unavailable",
]

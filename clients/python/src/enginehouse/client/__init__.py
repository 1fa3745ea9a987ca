"""The Python client: text, embeddings, speech and administration of a mesh, over gRPC.

    from enginehouse.client import Enginehouse

    with Enginehouse("http://127.0.0.1:8080", "eh_...") as mesh:
        answer = mesh.generate("Tell me a story about a clever crow")
        print(answer.text, answer.cost_nanos)

`AsyncEnginehouse` is the same client with `await`. Every failed call raises an `EnginehouseError`.
"""

from enginehouse.client._async.admin import AsyncAdmin
from enginehouse.client._async.billing import AsyncBilling
from enginehouse.client._async.cache import AsyncCache
from enginehouse.client._async.client import AsyncEnginehouse
from enginehouse.client._async.conversation import AsyncConversationStream
from enginehouse.client._async.experiments import AsyncExperiments
from enginehouse.client._async.generation_stream import AsyncGenerationStream
from enginehouse.client._async.identity import AsyncIdentity
from enginehouse.client._async.policies import AsyncPolicies
from enginehouse.client._async.streams import AsyncSpeechStream, AsyncTranscriptionStream
from enginehouse.client._sync.admin import Admin
from enginehouse.client._sync.billing import Billing
from enginehouse.client._sync.cache import Cache
from enginehouse.client._sync.client import Enginehouse
from enginehouse.client._sync.conversation import ConversationStream
from enginehouse.client._sync.experiments import Experiments
from enginehouse.client._sync.generation_stream import GenerationStream
from enginehouse.client._sync.identity import Identity
from enginehouse.client._sync.policies import Policies
from enginehouse.client._sync.streams import SpeechStream, TranscriptionStream
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
from enginehouse.client.generation import Choice, Embeddings, Generation
from enginehouse.client.requests.generation import GenerationOptions, Message, Tool, ToolCall
from enginehouse.client.requests.voice import SpeechOptions
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
    "AsyncExperiments",
    "AsyncGenerationStream",
    "AsyncIdentity",
    "AsyncPolicies",
    "AsyncSpeechStream",
    "AsyncTranscriptionStream",
    "Billing",
    "BudgetExhausted",
    "Cache",
    "Cancelled",
    "Choice",
    "Conflict",
    "ConversationEvent",
    "ConversationStream",
    "DeadlineExceeded",
    "Embeddings",
    "Enginehouse",
    "EnginehouseError",
    "Experiments",
    "FieldViolation",
    "Generation",
    "GenerationOptions",
    "GenerationStream",
    "Identity",
    "IncompleteError",
    "IncompleteSpeechError",
    "InvalidRequest",
    "Message",
    "NotFound",
    "PermissionDenied",
    "Policies",
    "RateLimited",
    "RetryPolicy",
    "ServerFault",
    "SpeechOptions",
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

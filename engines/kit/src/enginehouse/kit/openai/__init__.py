"""OpenAI's HTTP API over typed text engines: bodies in, bodies out, exact to what OpenAI's clients send and read."""

from enginehouse.kit.openai._chat_request import ChatRequest, read_chat
from enginehouse.kit.openai._completion_request import CompletionRequest, read_completion
from enginehouse.kit.openai._embedding import EmbeddingRequest, read_embedding
from enginehouse.kit.openai._servicer import MAX_BODY_BYTES, GrantedCall, TextEngine, TextServicer
from enginehouse.kit.openai.errors import (
    ERROR_METADATA_KEY,
    error_event,
    error_metadata,
    openai_error,
    with_edge_names,
)

__all__ = [
    "ERROR_METADATA_KEY",
    "MAX_BODY_BYTES",
    "ChatRequest",
    "CompletionRequest",
    "EmbeddingRequest",
    "GrantedCall",
    "TextEngine",
    "TextServicer",
    "error_event",
    "error_metadata",
    "openai_error",
    "read_chat",
    "read_completion",
    "read_embedding",
    "with_edge_names",
]

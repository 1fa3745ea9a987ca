"""OpenAI's HTTP API over typed engines: request and response bodies exactly as OpenAI's clients send and read them."""

from enginehouse.kit.openai.audio._servicer import AudioServicer, InProcessVoiceEngine
from enginehouse.kit.openai.audio._speech import SpeechRequest, read_speech
from enginehouse.kit.openai.audio._transcription import TranscriptionRequest, read_transcription
from enginehouse.kit.openai.errors import (
    ERROR_METADATA_KEY,
    error_event,
    error_metadata,
    openai_error,
    with_edge_names,
)
from enginehouse.kit.openai.text._chat_request import ChatRequest, read_chat
from enginehouse.kit.openai.text._completion_request import CompletionRequest, read_completion
from enginehouse.kit.openai.text._embedding import EmbeddingRequest, read_embedding
from enginehouse.kit.openai.text._servicer import MAX_BODY_BYTES, InProcessTextEngine, TextServicer

__all__ = [
    "ERROR_METADATA_KEY",
    "MAX_BODY_BYTES",
    "AudioServicer",
    "ChatRequest",
    "CompletionRequest",
    "EmbeddingRequest",
    "InProcessTextEngine",
    "InProcessVoiceEngine",
    "SpeechRequest",
    "TextServicer",
    "TranscriptionRequest",
    "error_event",
    "error_metadata",
    "openai_error",
    "read_chat",
    "read_completion",
    "read_embedding",
    "read_speech",
    "read_transcription",
    "with_edge_names",
]

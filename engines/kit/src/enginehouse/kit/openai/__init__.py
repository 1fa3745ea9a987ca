"""OpenAI's HTTP API over typed text engines: bodies in, bodies out, exact to what OpenAI's clients send and read."""

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
    "GrantedCall",
    "TextEngine",
    "TextServicer",
    "error_event",
    "error_metadata",
    "openai_error",
    "with_edge_names",
]

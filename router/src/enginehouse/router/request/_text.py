"""Requests of `inference.v1.GenerationService`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request._request import (
    CONVERSATION_OVERHEAD,
    MESSAGE_OVERHEAD,
    MOST_CHOICES,
    InferenceRequest,
    Purpose,
    needs,
    utf8_length,
)


def generate(message: bytes) -> InferenceRequest:
    """A GenerateRequest. The whole message's size bounds the text in it."""
    try:
        request = generation_pb2.GenerateRequest.FromString(message)
    except DecodeError:
        raise _malformed("GenerateRequest") from None
    messages = request.messages
    texts = [one.content for one in messages] if messages else [request.prompt]
    form = request.format.WhichOneof("form") if request.HasField("format") else None
    return InferenceRequest(
        purpose=Purpose.GENERATE,
        model=request.model or "auto",
        texts=texts,
        input_bytes=len(message) + CONVERSATION_OVERHEAD + MESSAGE_OVERHEAD * len(messages),
        max_output_tokens=max(0, request.max_output_tokens),
        choices=min(max(1, request.choices), MOST_CHOICES),
        capabilities=needs(
            "chat" if messages else "completion",
            "tools" if request.tools else "",
            "json_schema" if form in ("json_schema", "json_object") else "grammar" if form == "grammar" else "",
            "logprobs" if request.logprobs else "",
        ),
        request_id=request.request_id,
    )


def embed(message: bytes) -> InferenceRequest:
    """An EmbedRequest."""
    try:
        request = generation_pb2.EmbedRequest.FromString(message)
    except DecodeError:
        raise _malformed("EmbedRequest") from None
    return InferenceRequest(
        purpose=Purpose.EMBED,
        model=request.model or "auto",
        inputs=[utf8_length(text) + MESSAGE_OVERHEAD for text in request.inputs],
        capabilities=needs("embeddings"),
        request_id=request.request_id,
    )


def tokenize(message: bytes) -> InferenceRequest:
    """A TokenizeRequest."""
    try:
        request = generation_pb2.TokenizeRequest.FromString(message)
    except DecodeError:
        raise _malformed("TokenizeRequest") from None
    return InferenceRequest(purpose=Purpose.TOKENIZE, model=request.model or "auto")


def _malformed(name: str) -> ServiceError:
    return ServiceError(
        Reason.INVALID_REQUEST,
        f"the body is not a valid {name}: it is cut off, of another type, or a string in it is not UTF-8",
    )

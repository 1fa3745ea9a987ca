"""Requests of `inference.v1.GenerationService`."""

from __future__ import annotations

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.router.request._call import IncomingCall
from enginehouse.router.request._request import (
    CONVERSATION_OVERHEAD,
    MAX_CHOICES,
    MESSAGE_OVERHEAD,
    InferenceRequest,
    Task,
    needs,
    utf8_length,
)


def generate(call: IncomingCall) -> InferenceRequest:
    """Size a GenerateRequest. The whole message's size bounds the text in it."""
    request = call.read(generation_pb2.GenerateRequest)
    messages = request.messages
    texts = [message.content for message in messages] if messages else [request.prompt]
    form = request.format.WhichOneof("form") if request.HasField("format") else None
    return InferenceRequest(
        task=Task.GENERATE,
        model=request.model or "auto",
        texts=texts,
        input_bytes=len(call.message) + CONVERSATION_OVERHEAD + MESSAGE_OVERHEAD * len(messages),
        max_output_tokens=max(0, request.max_output_tokens),
        choices=min(max(1, request.choices), MAX_CHOICES),
        capabilities=needs(
            "chat" if messages else "completion",
            "tools" if request.tools else "",
            "json_schema" if form in ("json_schema", "json_object") else "grammar" if form == "grammar" else "",
            "logprobs" if request.logprobs else "",
        ),
        request_id=request.request_id,
    )


def embed(call: IncomingCall) -> InferenceRequest:
    """Size an EmbedRequest."""
    request = call.read(generation_pb2.EmbedRequest)
    return InferenceRequest(
        task=Task.EMBED,
        model=request.model or "auto",
        inputs=[utf8_length(text) + MESSAGE_OVERHEAD for text in request.inputs],
        capabilities=call.method.capabilities,
        request_id=request.request_id,
    )


def tokenize(call: IncomingCall) -> InferenceRequest:
    """Size a TokenizeRequest."""
    request = call.read(generation_pb2.TokenizeRequest)
    return InferenceRequest(task=Task.TOKENIZE, model=request.model or "auto", capabilities=call.method.capabilities)

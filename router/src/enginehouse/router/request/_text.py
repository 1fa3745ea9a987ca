"""Requests of `inference.v1.GenerationService`."""

from __future__ import annotations

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.prompt_bound import input_tokens_bound, prompt_tokens_bound
from enginehouse.router.request._call import IncomingCall
from enginehouse.router.request._request import MAX_CHOICES, InferenceRequest, Task, needs


def generate(call: IncomingCall) -> InferenceRequest:
    """Size a GenerateRequest."""
    return sized_generate(call.read(generation_pb2.GenerateRequest))


def sized_generate(request: generation_pb2.GenerateRequest) -> InferenceRequest:
    """Return a request for text with its bounds, whichever form it came in."""
    messages = request.messages
    texts = [message.content for message in messages] if messages else [request.prompt]
    form = request.format.WhichOneof("form") if request.HasField("format") else None
    return InferenceRequest(
        task=Task.GENERATE,
        model=request.model or "auto",
        texts=texts,
        input_bytes=prompt_tokens_bound(request),
        # 0 is the model's default here; one token is the least that can be reserved.
        max_output_tokens=1 if request.prompt_only else max(0, request.max_output_tokens),
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
    return sized_embed(call.read(generation_pb2.EmbedRequest), capabilities=call.method.capabilities)


def sized_embed(request: generation_pb2.EmbedRequest, *, capabilities: frozenset[str]) -> InferenceRequest:
    """Return a request for embeddings with its bounds, whichever form it came in."""
    return InferenceRequest(
        task=Task.EMBED,
        model=request.model or "auto",
        inputs=[input_tokens_bound(text) for text in request.inputs],
        capabilities=capabilities,
        request_id=request.request_id,
    )


def tokenize(call: IncomingCall) -> InferenceRequest:
    """Size a TokenizeRequest."""
    return _tokens_of(call, call.read(generation_pb2.TokenizeRequest).model)


def count_tokens(call: IncomingCall) -> InferenceRequest:
    """Size a CountTokensRequest."""
    return _tokens_of(call, call.read(generation_pb2.CountTokensRequest).generate.model)


def _tokens_of(call: IncomingCall, model: str) -> InferenceRequest:
    return InferenceRequest(task=Task.TOKENIZE, model=model or "auto", capabilities=call.method.capabilities)

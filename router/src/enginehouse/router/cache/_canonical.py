"""The canonical form of a request: equal meaning gives equal bytes, and whatever could change the answer changes them.

Requests of every API are read into the typed one first, so that a chat completion finds the answer to the same gRPC
call. Order does not count where it has no meaning (the keys of the JSON body, stop texts). It counts within schemas,
because a model writes their properties in that order. Blanks between the tokens of a schema's JSON do not count.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable

from google.api import httpbody_pb2
from google.protobuf.message import DecodeError, Message

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.openai import read_chat, read_completion, read_embedding

_INFERENCE = "/enginehouse.api.inference.v1.GenerationService/"
_OPENAI = "/enginehouse.api.openai.v1.TextService/"
# Changing this text changes every key, so that older answers are not found.
_FORM = b"enginehouse answer 1"

# The fields that this module knows. The answer to a request with any other field, such as one that continues a cut
# answer, is not kept.
_GENERATE_FIELDS = frozenset(
    {"request_id", "model", "messages", "prompt", "sampling", "max_output_tokens", "stop", "format", "tools",
     "tool_choice", "choices", "logprobs", "top_logprobs", "echo", "parallel_tool_calls", "resumable",
     "prompt_token_ids", "prompt_only"}
)  # fmt: skip
_EMBED_FIELDS = frozenset({"request_id", "model", "inputs", "dimensions"})


@dataclasses.dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """A request in its canonical form.

    Attributes:
        form: the bytes.
        deterministic: true if the same answer comes each time: greedy or seeded sampling, or embeddings.
        question: the last message, if it is the user's; questions of the same meaning differ in it alone.
        frame: the canonical bytes of all but the question; empty if there is no question.
    """

    form: bytes
    deterministic: bool
    question: str = ""
    frame: bytes = b""


def canonicalize(method: str, message: bytes) -> CanonicalRequest | None:
    """Return the canonical form of a call's request message; None if its answer cannot be kept.

    A request that an engine will refuse gives None too: the engine explains the fault better than a cache can.
    """
    try:
        if method == _INFERENCE + "Generate":
            return _generate(generation_pb2.GenerateRequest.FromString(message))
        if method == _INFERENCE + "Embed":
            return _embed(generation_pb2.EmbedRequest.FromString(message))
        if not method.startswith(_OPENAI):
            return None
        body = httpbody_pb2.HttpBody.FromString(message).data
        if method == _OPENAI + "CreateChatCompletion":
            return _generate(read_chat(body).generate)
        if method == _OPENAI + "CreateEmbedding":
            return _embed(read_embedding(body).embed)
        if method == _OPENAI + "CreateCompletion":
            prompts = read_completion(body).prompts
            # A call with several prompts has several generations.
            return _generate(prompts[0]) if len(prompts) == 1 else None
    except (DecodeError, ServiceError):
        return None
    return None


def canonicalize_chat(body: bytes) -> CanonicalRequest | None:
    """Return the canonical form of a chat completion's JSON. Raises ServiceError if it cannot be read."""
    return _generate(read_chat(body).generate)


def answer_key(request: CanonicalRequest, *, scope: str, model: bytes, system_prompt: str, epochs: bytes) -> bytes:
    """Return the 32-byte key that the answer is kept under.

    Args:
        request: the request.
        scope: who may share the answer.
        model: the identity of the model that answers.
        system_prompt: the message that an experiment puts before the conversation.
        epochs: the tags, and how often each was invalidated.
    """
    return _digest((request.form, scope.encode(), model, system_prompt.encode(), epochs))


def frame_key(request: CanonicalRequest, *, scope: str, model: bytes, system_prompt: str, epochs: bytes) -> bytes:
    """Return the 32-byte key of the frame that questions are compared within.

    Requests with the same frame differ in their last message alone.
    """
    return _digest((b"frame", request.frame, scope.encode(), model, system_prompt.encode(), epochs))


def model_identity(model: CatalogModel) -> bytes:
    """Return a digest of all that shapes a model's answers: its entry in the catalog without price and rank."""
    facts = {
        "name": model.name,
        "cluster": model.cluster,
        "backend": model.backend,
        "source": model.source,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "options": dict(model.options),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).digest()


def _generate(request: generation_pb2.GenerateRequest) -> CanonicalRequest | None:
    if not _known(request, _GENERATE_FIELDS):
        return None
    request.ClearField("request_id")
    # The key holds the model that answers, not the name in the request.
    request.ClearField("model")
    if request.choices == 1:
        request.choices = 0
    if len(request.stop) > 1:
        stops = sorted(set(request.stop))
        del request.stop[:]
        request.stop.extend(stops)
    if request.format.json_schema:
        request.format.json_schema = _without_blanks(request.format.json_schema)
    for tool in request.tools:
        if tool.parameters_json_schema:
            tool.parameters_json_schema = _without_blanks(tool.parameters_json_schema)
    sampling = request.sampling
    greedy = sampling.HasField("temperature") and sampling.temperature == 0
    if greedy or not sampling.HasField("seed"):
        # `resumable` changes the answer only if a seed draws the tokens.
        request.resumable = False
    deterministic = greedy or sampling.HasField("seed")
    form = _bytes(b"generate", request)
    question, frame = "", b""
    if request.messages and request.messages[-1].role == generation_pb2.ROLE_USER:
        question = request.messages[-1].content
        request.messages[-1].content = ""
        frame = _bytes(b"generate", request)
    return CanonicalRequest(form, deterministic, question, frame)


def _embed(request: generation_pb2.EmbedRequest) -> CanonicalRequest | None:
    if not _known(request, _EMBED_FIELDS):
        return None
    request.ClearField("request_id")
    request.ClearField("model")
    return CanonicalRequest(_bytes(b"embed", request), deterministic=True)


def _known(request: Message, names: frozenset[str]) -> bool:
    return all(field.name in names for field, _ in request.ListFields())


def _bytes(kind: bytes, request: Message) -> bytes:
    return kind + b"\0" + request.SerializeToString(deterministic=True)


def _without_blanks(text: str) -> str:
    try:
        return json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        # Not JSON: the engine will refuse it.
        return text


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(_FORM)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

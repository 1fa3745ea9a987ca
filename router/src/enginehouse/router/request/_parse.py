"""From a method and the bytes of its first message to an InferenceRequest."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.contracts import Body, Contracts, Method
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request import _openai, _text, _voice
from enginehouse.router.request._call import LANGUAGE_HEADER, VOICE_HEADER, IncomingCall
from enginehouse.router.request._default import estimate_by_options
from enginehouse.router.request._request import InferenceRequest, Task

_HTTP_BODY = httpbody_pb2.HttpBody.DESCRIPTOR.full_name

# The estimators of each task, by the form of the request. A request of another task or form has the default one.
_ESTIMATORS: Mapping[tuple[str, str], Callable[[IncomingCall], InferenceRequest]] = MappingProxyType(
    {
        (Task.GENERATE, generation_pb2.GenerateRequest.DESCRIPTOR.full_name): _text.generate,
        (Task.GENERATE, _HTTP_BODY): _openai.generate,
        (Task.EMBED, generation_pb2.EmbedRequest.DESCRIPTOR.full_name): _text.embed,
        (Task.EMBED, _HTTP_BODY): _openai.embed,
        (Task.TOKENIZE, generation_pb2.TokenizeRequest.DESCRIPTOR.full_name): _text.tokenize,
        (Task.TOKENIZE, generation_pb2.CountTokensRequest.DESCRIPTOR.full_name): _text.count_tokens,
        (Task.SPEAK, voice_pb2.SynthesizeRequest.DESCRIPTOR.full_name): _voice.synthesize,
        (Task.SPEAK, voice_pb2.PlanSpeechRequest.DESCRIPTOR.full_name): _voice.plan_speech,
        (Task.SPEAK, voice_pb2.ConverseRequest.DESCRIPTOR.full_name): _voice.converse,
        (Task.SPEAK, _HTTP_BODY): _voice.speech,
        (Task.TRANSCRIBE, voice_pb2.RecognizeRequest.DESCRIPTOR.full_name): _voice.recognize,
        (Task.TRANSCRIBE, voice_pb2.StreamingRecognizeRequest.DESCRIPTOR.full_name): _voice.streaming_recognize,
        (Task.TRANSCRIBE, _HTTP_BODY): _voice.transcription,
    }
)


def parse_request(
    contracts: Contracts,
    path: str,
    body: bytes,
    *,
    headers: Mapping[bytes, bytes] = MappingProxyType({}),
    encoding: str = "",
    max_bytes: int = 32 << 20,
) -> InferenceRequest:
    """Return the request that a call makes, read from its body, which is one length-prefixed gRPC message; where its
    method is decided by the headers, from those alone.

    Args:
        contracts: the methods that there are.
        path: the full method, as "/package.Service/Method"; one without a task gives a request without one.
        body: as it was sent.
        headers: the call's, by lower-case name.
        encoding: the header `grpc-encoding`, for a compressed message.
        max_bytes: the most that a compressed message may grow to.

    Raises:
        ServiceError: INVALID_REQUEST or REQUEST_TOO_LARGE.
    """
    method = contracts.methods.get(path)
    if method is None or not method.task:
        return InferenceRequest(task=Task.NONE)
    message = b""
    if method.body is not Body.HEADERS:
        message = first_message(body, encoding=encoding, max_bytes=max_bytes)
    return read_request(contracts, method, message, headers)


def has_estimator(method: Method) -> bool:
    """Return whether the router knows how to size requests of a method by more than its options."""
    return (method.task, method.request_type) in _ESTIMATORS


def read_request(
    contracts: Contracts,
    method: Method,
    message: bytes,
    headers: Mapping[bytes, bytes] = MappingProxyType({}),
) -> InferenceRequest:
    """Return the request that a message makes, without gRPC's framing. Raise INVALID_REQUEST."""
    estimate = _ESTIMATORS.get((method.task, method.request_type), estimate_by_options)
    call = IncomingCall(contracts, method, message, headers)
    request = estimate(call)
    request.free = method.free
    # What the engine will read in the body goes first.
    if LANGUAGE_HEADER in headers:
        request.language = request.language or call.asked_language()
    if VOICE_HEADER in headers:
        request.voice = request.voice or call.asked_voice()
    return request


def first_message(body: bytes, *, encoding: str = "", max_bytes: int = 32 << 20) -> bytes:
    """Return the message in a call's body, inflated if need be. Raise INVALID_REQUEST or REQUEST_TOO_LARGE."""
    if len(body) < 5:
        raise ServiceError(Reason.INVALID_REQUEST, f"the body has {len(body)} bytes; a gRPC message begins with five")
    length = int.from_bytes(body[1:5], "big")
    if len(body) != length + 5:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"the body has {len(body) - 5} bytes after its prefix, which says {length}"
        )
    if body[0] == 0:
        return body[5:]
    if body[0] != 1 or encoding not in ("gzip", "deflate"):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"the message is marked as compressed with {encoding[:32]!r}; use gzip, deflate or no compression",
        )
    # 32 more bits of window: zlib tells gzip from deflate by itself.
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        message = inflate.decompress(body[5:], max_bytes)
    except zlib.error:
        raise ServiceError(Reason.INVALID_REQUEST, f"the message is not valid {encoding}") from None
    if inflate.unconsumed_tail:
        raise ServiceError(Reason.REQUEST_TOO_LARGE, f"the message inflates to more than {max_bytes} bytes")
    if not inflate.eof:
        raise ServiceError(Reason.INVALID_REQUEST, f"the {encoding} message is cut off")
    return message

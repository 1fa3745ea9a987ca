"""From a method and the bytes of its first message to an InferenceRequest."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request import _openai, _text, _voice
from enginehouse.router.request._request import InferenceRequest, Purpose

_INFERENCE = "/enginehouse.api.inference.v1.GenerationService/"
_OPENAI = "/enginehouse.api.openai.v1.TextService/"

_VOICE = "/enginehouse.api.voice.v1.VoiceService/"
_OPENAI_AUDIO = "/enginehouse.api.openai.v1.AudioService/"

_PARSERS: Mapping[str, tuple[Purpose, Callable[[bytes], InferenceRequest]]] = MappingProxyType(
    {
        _INFERENCE + "Generate": (Purpose.GENERATE, _text.generate),
        _INFERENCE + "Embed": (Purpose.EMBED, _text.embed),
        _INFERENCE + "Tokenize": (Purpose.TOKENIZE, _text.tokenize),
        _OPENAI + "CreateChatCompletion": (Purpose.GENERATE, _openai.chat),
        _OPENAI + "CreateCompletion": (Purpose.GENERATE, _openai.completion),
        _OPENAI + "CreateEmbedding": (Purpose.EMBED, _openai.embedding),
    }
)
# What recordings last, the caller may say in a header.
_MEDIA_PARSERS: Mapping[str, tuple[Purpose, Callable[[bytes, Mapping[bytes, bytes]], InferenceRequest]]] = (
    MappingProxyType(
        {
            _VOICE + "Synthesize": (Purpose.SPEAK, _voice.synthesize),
            _VOICE + "Recognize": (Purpose.LISTEN, _voice.recognize),
            _OPENAI_AUDIO + "CreateSpeech": (Purpose.SPEAK, _voice.speech),
            _OPENAI_AUDIO + "CreateTranscription": (Purpose.LISTEN, _voice.transcription),
            _OPENAI_AUDIO + "CreateTranslation": (Purpose.LISTEN, _voice.translation),
        }
    )
)
# Where the client streams there is no body yet, and the headers say everything.
_STREAM_PARSERS: Mapping[str, tuple[Purpose, Callable[[Mapping[bytes, bytes]], InferenceRequest]]] = MappingProxyType(
    {
        _VOICE + "Converse": (Purpose.SPEAK, _voice.converse),
        _VOICE + "StreamingRecognize": (Purpose.LISTEN, _voice.streaming_recognize),
    }
)
_PURPOSES: Mapping[str, Purpose] = MappingProxyType(
    {method: found[0] for table in (_PARSERS, _MEDIA_PARSERS, _STREAM_PARSERS) for method, found in table.items()}
)


def purpose_of(method: str) -> Purpose:
    """What a method needs of the router."""
    return _PURPOSES.get(method, Purpose.OTHER)


def parse_request(
    method: str,
    body: bytes,
    *,
    headers: Mapping[bytes, bytes] = MappingProxyType({}),
    encoding: str = "",
    max_bytes: int = 32 << 20,
) -> InferenceRequest:
    """Reads the body of a call, which is one length-prefixed gRPC message; of a call in which the client streams, the
    headers alone.

    Args:
        method: the full method, as "/package.Service/Method".
        body: as it was sent.
        headers: the call's, by lower-case name.
        encoding: the header `grpc-encoding`, for a compressed message.
        max_bytes: the most that a compressed message may grow to.

    Raises:
        ServiceError: INVALID_REQUEST or REQUEST_TOO_LARGE.
    """
    found = _PARSERS.get(method)
    if found is not None:
        return found[1](first_message(body, encoding=encoding, max_bytes=max_bytes))
    media = _MEDIA_PARSERS.get(method)
    if media is not None:
        return media[1](first_message(body, encoding=encoding, max_bytes=max_bytes), headers)
    stream = _STREAM_PARSERS.get(method)
    return InferenceRequest(purpose=Purpose.OTHER) if stream is None else stream[1](headers)


def request_of(method: str, message: bytes) -> InferenceRequest:
    """The InferenceRequest of a call's request message, without gRPC's framing. Raises INVALID_REQUEST."""
    found = _PARSERS.get(method)
    return InferenceRequest(purpose=Purpose.OTHER) if found is None else found[1](message)


def first_message(body: bytes, *, encoding: str = "", max_bytes: int = 32 << 20) -> bytes:
    """The message in a call's body, inflated if need be. Raises INVALID_REQUEST or REQUEST_TOO_LARGE."""
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

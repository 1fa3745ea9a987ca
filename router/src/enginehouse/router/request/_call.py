"""A call that is to be sized: its method, its first message and its headers, and how to read fields of either."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError, Message

from enginehouse.kit.contracts import Contracts, Method
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.languages import is_tag, language_tag

MODEL_HEADER = b"x-enginehouse-ask-model"
"""The header that names the model of a call whose body is not read."""

LANGUAGE_HEADER = b"x-enginehouse-language"
"""The header that asks for a language, where the body has no field for it or is not read."""
VOICE_HEADER = b"x-enginehouse-voice"
"""The header that asks for a voice, where the body is not read."""

_VOICE = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
_MessageT = TypeVar("_MessageT", bound=Message)


# Not frozen: one is made for every request, and a frozen one takes a microsecond more.
@dataclasses.dataclass(slots=True)
class IncomingCall:
    """A call to be sized.

    Attributes:
        contracts: where the types of its messages come from.
        method: the method called.
        message: the first message; empty where the method is decided by its headers.
        headers: by lower-case name.
    """

    contracts: Contracts
    method: Method
    message: bytes
    headers: Mapping[bytes, bytes]

    def read(self, kind: type[_MessageT]) -> _MessageT:
        """Return the message as one of this type. Raise INVALID_REQUEST."""
        try:
            return kind.FromString(self.message)
        except DecodeError:
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"the body is not a valid {kind.DESCRIPTOR.name}: it is cut off, of another type, or a string in it is "
                "not UTF-8",
            ) from None

    def http_body(self) -> bytes:
        """Return the bytes in an HttpBody. Raise INVALID_REQUEST."""
        try:
            return bytes(httpbody_pb2.HttpBody.FromString(self.message).data)
        except DecodeError:
            raise ServiceError(Reason.INVALID_REQUEST, "the body is not a valid google.api.HttpBody") from None

    def json(self) -> dict[str, Any]:
        """Return the JSON object in an HttpBody. Raise INVALID_REQUEST."""
        return json_object(self.http_body())

    def named_model(self) -> str:
        """Return the model that the headers name, or "auto"."""
        return self.headers.get(MODEL_HEADER, b"").decode("latin-1") or "auto"

    def asked_language(self) -> str:
        """Return the language that the headers ask for, empty where they ask for none. Raise INVALID_REQUEST."""
        given = self.headers.get(LANGUAGE_HEADER, b"").decode("latin-1")
        return checked_language(given, LANGUAGE_HEADER.decode()) if given else ""

    def asked_voice(self) -> str:
        """Return the voice that the headers ask for, empty where they ask for none. Raise INVALID_REQUEST."""
        given = self.headers.get(VOICE_HEADER, b"").decode("latin-1")
        if given and not _VOICE(given):
            field, description = VOICE_HEADER.decode(), "must be 1-128 printable ASCII characters without spaces"
            raise ServiceError(
                Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
            )
        return given

    def bound(self, header: bytes, most: int) -> int:
        """Return the bound that a header gives, 0 where there is none. Raise INVALID_REQUEST."""
        given = self.headers.get(header)
        if not given:
            return 0
        if not given.isdigit() or not 1 <= int(given[:20]) <= most:
            field = header.decode()
            description = f"{given[:32].decode('latin-1')!r} must be a whole number from 1 to {most}"
            raise ServiceError(
                Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
            )
        return int(given)


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object. Raise INVALID_REQUEST."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ServiceError(Reason.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ServiceError(Reason.INVALID_REQUEST, f"the body must be a JSON object, not {type(body).__name__}")
    return body


def checked_language(tag: str, field: str) -> str:
    """Return a language's tag in its canonical case. Raise INVALID_REQUEST naming the field."""
    try:
        return language_tag(tag)
    except ValueError as error:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"{field}: {error}", violations=[FieldViolation(field, str(error))]
        ) from None


def body_language(value: object) -> str:
    """Return the language that a field of the body asks for, empty for what is no tag, which the engine will refuse."""
    return language_tag(value) if isinstance(value, str) and is_tag(value) else ""


def required_model(model: object, field: str = "model") -> str:
    """Return the model that a field names. Raise INVALID_REQUEST where it names none."""
    if not isinstance(model, str) or not model:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"{field}: name a model, or 'auto' to let the router choose",
            violations=[FieldViolation(field, "must be a model's name, or 'auto'")],
            metadata={"code": "missing_required_parameter"},
        )
    return model

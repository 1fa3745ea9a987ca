"""A call that is to be sized: its method, its first message and its headers, and how to read fields of either."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError, Message

from enginehouse.kit.contracts import Contracts, Method
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

MODEL_HEADER = b"x-enginehouse-ask-model"
"""The header that names the model of a call whose body is not read."""

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

    def json(self) -> dict[str, Any]:
        """Return the JSON object in an HttpBody. Raise INVALID_REQUEST."""
        try:
            data = httpbody_pb2.HttpBody.FromString(self.message).data
        except DecodeError:
            raise ServiceError(Reason.INVALID_REQUEST, "the body is not a valid google.api.HttpBody") from None
        return json_object(data)

    def named_model(self) -> str:
        """Return the model that the headers name, or "auto"."""
        return self.headers.get(MODEL_HEADER, b"").decode("latin-1") or "auto"

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


def required_model(model: object, field: str = "model") -> str:
    """Return the model that a field names. Raise INVALID_REQUEST where it names none."""
    if not isinstance(model, str) or not model:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"{field}: name a model, or 'auto' to let the router choose",
            violations=[FieldViolation(field, "must be a model's name, or 'auto'")],
        )
    return model

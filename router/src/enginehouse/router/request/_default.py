"""The estimator of every task that has none of its own: what the method's options say is all that it knows.

`enginehouse/api/options/v1/options.proto` says at `MethodOptions.units` how the bound on the cost follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.api import httpbody_pb2
from google.protobuf.message import Message

from enginehouse.kit.contracts import Body
from enginehouse.kit.multipart import read_form
from enginehouse.kit.pricing import Unit, unit_named
from enginehouse.router.request._call import IncomingCall, json_object, required_model
from enginehouse.router.request._request import InferenceRequest

# An amount beyond this costs more than 63 bits of nano-dollars hold, at any price that catalogs take.
_MAX_AMOUNT = 10**12

# Returns the value of a field, at a path with dots between nested fields; None where it is absent.
_Fields = Callable[[str], Any]


def estimate_by_options(call: IncomingCall) -> InferenceRequest:
    """Return the request that a call makes. Raise INVALID_REQUEST where its body cannot be read."""
    method = call.method
    fields = _fields(call)
    if method.body is Body.HEADERS:
        model = call.named_model()
    else:
        named = fields(method.model_field)
        model = required_model(named, method.model_field) if method.raw else _text(named) or "auto"
    units, bounded = _units(call, fields)
    return InferenceRequest(
        task=method.task,
        model=model,
        capabilities=method.capabilities,
        request_id=_text(fields("request_id")),
        units=units,
        any_unit=True,
        bounded=bounded,
    )


def _units(call: IncomingCall, fields: _Fields) -> tuple[dict[Unit, int], bool]:
    """Return the most of each unit that the request asks for, what its caller, the request or the contract says; and
    whether the caller or the request has said any.
    """
    units: dict[Unit, int] = {}
    bounded = False
    for unit in call.method.units:
        amount = call.bound(f"x-enginehouse-max-{unit.name.replace('_', '-')}".encode(), _MAX_AMOUNT)
        if not amount and unit.max_field:
            amount = _amount(fields(unit.max_field))
        bounded = bounded or amount > 0
        amount = amount or unit.default_max
        if amount:
            units[unit_named(unit.name)] = amount
    return units, bounded


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _amount(value: object) -> int:
    """Return a positive whole number, or 0 for anything else, which the engine will refuse or ignore."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        # In a form, numbers are texts.
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return min(max(0, value), _MAX_AMOUNT)


def _fields(call: IncomingCall) -> _Fields:
    if call.method.body is Body.HEADERS:
        return lambda path: None
    if not call.method.raw:
        message = call.read(call.contracts.request_class(call.method))
        return lambda path: _of_message(message, path)
    body = call.read(httpbody_pb2.HttpBody)
    if body.content_type.lower().startswith("multipart/form-data"):
        return read_form(body.content_type, body.data).text
    document = json_object(body.data)
    return lambda path: _of_json(document, path)


def _of_message(message: Message, path: str) -> Any:
    value: Any = message
    for name in path.split("."):
        if not isinstance(value, Message) or name not in value.DESCRIPTOR.fields_by_name:
            return None
        value = getattr(value, name)
    return value


def _of_json(document: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document

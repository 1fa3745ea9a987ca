"""Errors: one shape, one list of reasons, and the same answer for OpenAI's clients."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.descriptor import Descriptor

from enginehouse.kit.conformance._calls import CallEnd, call
from enginehouse.kit.conformance._examples import invalid_request
from enginehouse.kit.conformance._reflection import ServedMethod
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, expect_refusal
from enginehouse.kit.errors import DOMAIN, HTTP_STATUS, STATUS_CODES, Reason

FAMILY = RuleFamily("error")
rule = FAMILY.rule

OPENAI_ERROR = "x-enginehouse-openai-error"
_MAX_TRAILERS = 8192


async def _failures(session: Session) -> AsyncIterator[tuple[str, ServedMethod, CallEnd]]:
    """Yield calls that fail, each with its fault."""
    for method in session.methods:
        yield "without a grant", method, await session.call(method, session.messages_for(method), token=None)
        if session.has_keys:
            token = session.token(method, accept_s=-5.0)
            yield "with an expired grant", method, await session.call(method, session.messages_for(method), token=token)
    for example in session.examples:
        token = session.example_token(example)
        ended = await session.call(example.method, invalid_request(example), token=token)
        if not ended.ok:
            yield "with an invalid request", example.method, ended


@rule(
    "shape",
    "Every error has one shape",
    "Every failed call has a google.rpc.Status in grpc-status-details-bin, with the call's code and message, and "
    "exactly one ErrorInfo of the domain enginehouse whose reason is one of ErrorReason and stands for that code.",
    Need.METHODS,
)
async def _shape(session: Session) -> None:
    async for case, method, ended in _failures(session):
        where = f"{method.name} {case}"
        expect(not ended.ok, f"{where} is answered")
        status = ended.status
        if status is None:
            raise Failed(f"{where} fails without a google.rpc.Status in grpc-status-details-bin: {ended}")
        expect(status.code == ended.code.value[0], f"{where}: the Status has code {status.code}, the call {ended.code}")
        expect(status.message, f"{where}: the Status has no message")
        infos = ended.error_infos
        expect(len(infos) == 1, f"{where}: the Status has {len(infos)} ErrorInfos; expected exactly 1")
        info = infos[0]
        expect(info.domain == DOMAIN, f"{where}: the ErrorInfo's domain is {info.domain!r}; expected {DOMAIN!r}")
        expect(info.reason in Reason.__members__, f"{where}: the reason {info.reason!r} is none of ErrorReason")
        code = STATUS_CODES[Reason(info.reason)]
        expect(ended.code is code, f"{where}: {info.reason} is {code.name}; the call has {ended.code.name}")
        size = sum(len(key) + len(value) for key, value in ended.trailing.items())
        expect(size <= _MAX_TRAILERS, f"{where}: the trailers have {size} bytes; peers take {_MAX_TRAILERS}")


@rule(
    "fields",
    "Invalid fields are named",
    "An INVALID_REQUEST for a field carries a BadRequest whose violations name fields of the request, each with a "
    "description.",
    Need.KEYS,
    Need.EXAMPLE,
)
async def _fields(session: Session) -> None:
    found = False
    for example in session.examples:
        token = session.example_token(example)
        ended = await session.call(example.method, invalid_request(example), token=token)
        # Other reasons, such as UNKNOWN_MODEL, say all by themselves; OpenAI's bodies have fields of their own.
        if ended.reason != Reason.INVALID_REQUEST.value or example.method.takes_http_body:
            continue
        where = f"an invalid request of {example.method.name}"
        found = True
        violations = [violation for bad in ended.bad_requests for violation in bad.field_violations]
        expect(violations, f"{where} is refused without a BadRequest that names the field")
        for violation in violations:
            expect(violation.description, f"{where}: the violation of {violation.field!r} has no description")
            unknown = _unknown_part(example.method.request, violation.field)
            expect(
                not unknown,
                f"{where}: the violation names {violation.field!r}; {example.method.request.name} has no {unknown!r}",
            )
    if not found:
        raise Inapplicable("no invalid request is known that the engine refuses; give an invalid_request")


def _unknown_part(message: Descriptor | None, path: str) -> str:
    """The first part of a field's path that the message does not have; empty if the path is right."""
    for part in path.split("."):
        name = part.partition("[")[0]
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None:
            # The name of a oneof stands for its fields.
            if message is not None and name in message.oneofs_by_name:
                return ""
            return name or path
        message = field.message_type
    return ""


@rule(
    "unknown_method",
    "Unknown methods",
    "A method that the service does not have is refused with UNKNOWN_METHOD (UNIMPLEMENTED).",
)
async def _unknown_method(session: Session) -> None:
    for service in session.options.services:
        path = f"/{service}/NoSuchMethod"
        ended = await call(session.engine.channel, path, [b""], timeout_s=session.patience_s)
        expect_refusal(ended, Reason.UNKNOWN_METHOD, path)


@rule(
    "openai",
    "OpenAI's errors",
    f"A failed call of a method that takes HttpBody has the trailing metadata {OPENAI_ERROR}: the HTTP status, a "
    "semicolon, and the base64url of OpenAI's JSON error body.",
    Need.HTTP_BODY,
)
async def _openai(session: Session) -> None:
    examples = {example.method.path: example for example in session.examples}
    for method in session.methods:
        if not method.takes_http_body:
            continue
        ended = await session.call(method, session.messages_for(method), token=None)
        _expect_openai(f"{method.name} without a grant", ended)
        example = examples.get(method.path)
        if example is not None and session.has_keys:
            token = session.example_token(example)
            ended = await session.call(method, invalid_request(example), token=token)
            if not ended.ok:
                _expect_openai(f"an invalid request of {method.name}", ended)


def _expect_openai(case: str, ended: CallEnd) -> None:
    expect(not ended.ok, f"{case} is answered")
    value = ended.trailing.get(OPENAI_ERROR)
    if not isinstance(value, str):
        raise Failed(f"{case} fails without the trailer {OPENAI_ERROR}")
    status, _, encoded = value.partition(";")
    expected = 413 if ended.reason == Reason.REQUEST_TOO_LARGE.value else HTTP_STATUS[ended.code]
    expect(status == str(expected), f"{case}: the trailer says HTTP {status}; {ended.code.name} is {expected}")
    try:
        document: Any = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        error = document["error"]
        fine = isinstance(error["message"], str) and isinstance(error["type"], str)
    except (binascii.Error, ValueError, KeyError, TypeError):
        fine = False
    expect(fine, f'{case}: the trailer\'s body is not base64url of {{"error": {{"message": ..., "type": ...}}}}')

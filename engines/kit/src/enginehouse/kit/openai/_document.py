"""A request body as strict JSON, whose parts are also available as the text that the client wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_BLANK = re.compile(r"[ \t\n\r]*")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _NotANumberError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return members


def _constant(name: str) -> NoReturn:
    raise _NotANumberError(name)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_PLAIN = json.JSONDecoder()

Span = tuple[int, int]
"""The offsets at which a value begins and ends in a document's text."""


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A JSON object and its text."""

    text: str
    value: dict[str, Any]

    def members(self, at: int) -> Mapping[str, Span]:
        """Return the span of each value of the object that begins at `at`."""
        spans: dict[str, Span] = {}
        index = self._past_blank(at + 1)
        while self.text[index] != "}":
            key, index = _PLAIN.raw_decode(self.text, index)
            start = self._past_blank(self._past_blank(index) + 1)
            index = _PLAIN.raw_decode(self.text, start)[1]
            spans[key] = (start, index)
            index = self._past_comma(index)
        return spans

    def elements(self, at: int) -> Sequence[Span]:
        """Return the span of each value of the array that begins at `at`."""
        spans: list[Span] = []
        index = self._past_blank(at + 1)
        while self.text[index] != "]":
            start = index
            index = _PLAIN.raw_decode(self.text, start)[1]
            spans.append((start, index))
            index = self._past_comma(index)
        return spans

    @property
    def start(self) -> int:
        """The offset at which the object begins."""
        return self._past_blank(0)

    def _past_blank(self, index: int) -> int:
        match = _BLANK.match(self.text, index)
        return match.end() if match else index

    def _past_comma(self, index: int) -> int:
        index = self._past_blank(index)
        return self._past_blank(index + 1) if self.text[index] == "," else index


def parse(body: bytes) -> JsonDocument:
    """Read a JSON object.

    Raises:
        ServiceError: INVALID_REQUEST, naming the fault and its place: bad UTF-8, lone surrogates, duplicate keys (which
            of two budgets did the caller mean?), NaN and infinities, nesting beyond the interpreter's depth, integers
            of thousands of digits.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _refused(f"The request body is not UTF-8: byte {error.start} is 0x{body[error.start]:02x}.") from None
    try:
        value, end = _STRICT.raw_decode(text, _past_blank(text, 0))
    except _DuplicateKeyError as error:
        key = error.key[:80]
        raise _refused(f"The request body has the key {key!r} twice in one object; keep one.", key) from None
    except _NotANumberError as error:
        raise _refused(f"The request body contains {error}, which is not JSON; use a finite number.") from None
    except RecursionError:
        raise _refused("The request body is nested too deeply; at most some hundred levels are allowed.") from None
    except json.JSONDecodeError as error:
        raise _refused(f"The request body is not JSON: {error}.") from None
    except ValueError:
        raise _refused("The request body contains an integer of thousands of digits.") from None
    end = _past_blank(text, end)
    if end != len(text):
        raise _refused(f"The request body is not JSON: extra text after the object, at character {end}.")
    if not isinstance(value, dict):
        raise _refused("The request body must be a JSON object.")
    if _ESCAPED_SURROGATE.search(text):
        _refuse_lone_surrogates(body)
    return JsonDocument(text, value)


def _refuse_lone_surrogates(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _refused(f"The request body is not JSON: {error}.") from None


def _past_blank(text: str, index: int) -> int:
    match = _BLANK.match(text, index)
    return match.end() if match else index


def _refused(message: str, param: str | None = None) -> ServiceError:
    violations = [FieldViolation(param, message)] if param else []
    return ServiceError(Reason.INVALID_REQUEST, message, violations=violations, metadata={"code": "invalid_json"})

"""Tool calls between tags in free text, found while the text arrives."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from enginehouse.api.inference.v1.generation_pb2 import ToolCallDelta
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece

OPEN, CLOSE = "<tool_call>", "</tool_call>"
"""The tags around a call, which is a JSON object with `name` and `arguments`, or an array of such objects."""

_BLANKS = " \t\r\n"
# All that JSON has outside of strings; any other character shows that the text is no call.
_OUTSIDE_STRINGS = frozenset('{}[]:,"0123456789+-.eEtrufalsn' + _BLANKS)


def new_call_id() -> str:
    """Return an id for a call, unique within any conversation."""
    return f"call_{secrets.token_hex(12)}"


class TaggedCallReader:
    """A reader of calls between tags in the text of one choice.

    What it makes of a text does not depend on how the text is cut into pieces. Whatever is no call stays text, and no
    character of it is lost, except for blanks at the end of an answer that has calls.

    Args:
        names: the names of all tools; a call of another is text.
        max_calls: the number of calls that are read, further ones being dropped; None for any number.
        new_id: makes the ids of calls.
    """

    def __init__(
        self, names: frozenset[str], max_calls: int | None = None, *, new_id: Callable[[], str] = new_call_id
    ) -> None:
        self._names = names
        self._max_calls = max_calls
        self._new_id = new_id
        # What has not been decided yet: the beginning of a tag, or a call that is not complete.
        self._held = ""
        # Blanks that were read as text; they are text for certain once other text follows.
        self._blanks = ""
        self._candidate: _Candidate | None = None
        # True between a call and its closing tag.
        self._after_call = False
        self._calls = 0

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Return the piece without the text that may be part of a call, which is held back until that is known."""
        self._held += piece.text
        last = piece.finish is not None
        texts: list[str] = []
        deltas: list[ToolCallDelta] = []
        while self._step(texts, deltas, last=last):
            pass
        if last:
            texts.append(self._held)
            self._held = ""
        text = self._settled("".join(texts), last=last)
        finish = FinishReason.TOOL_CALLS if piece.finish is FinishReason.STOP and self._calls else piece.finish
        return replace(piece, text=text, tool_calls=[*piece.tool_calls, *deltas], finish=finish)

    def _step(self, texts: list[str], deltas: list[ToolCallDelta], *, last: bool) -> bool:
        """Decide about the beginning of what is held; return whether more can be decided."""
        if self._candidate is not None:
            return self._read_candidate(self._candidate, texts, deltas)
        if self._after_call:
            return self._leave_call(last=last)
        start = self._held.find(OPEN)
        if start >= 0:
            texts.append(self._held[:start])
            self._held = self._held[start:]
            self._candidate = _Candidate(len(OPEN))
            return True
        keep = 0 if last else _overlap(self._held, OPEN)
        texts.append(self._held[: len(self._held) - keep])
        self._held = self._held[len(self._held) - keep :]
        return False

    def _read_candidate(self, candidate: _Candidate, texts: list[str], deltas: list[ToolCallDelta]) -> bool:
        end = candidate.end_in(self._held)
        if end is None:
            return False
        self._candidate = None
        calls = list(self._calls_in(self._held[candidate.start : end])) if candidate.is_complete else []
        if calls:
            deltas.extend(calls_taken for call in calls if (calls_taken := self._taken(*call)) is not None)
            self._after_call = True
        else:
            texts.append(self._held[:end])
        self._held = self._held[end:]
        return True

    def _leave_call(self, *, last: bool) -> bool:
        """Drop the closing tag, with the blanks before it; find the next call where several share their tags."""
        rest = self._held.lstrip(_BLANKS)
        if rest.startswith(CLOSE):
            self._after_call = False
            self._held = rest[len(CLOSE) :]
            return True
        if rest.startswith("{"):
            self._after_call = False
            self._held = rest
            self._candidate = _Candidate(0)
            return True
        if not last and CLOSE.startswith(rest):
            return False
        # The model has left out the tag.
        self._after_call = False
        return bool(rest)

    def _settled(self, text: str, *, last: bool) -> str:
        """Return the text that is certain, blanks being held until other text follows them."""
        text = self._blanks + text
        certain = text.rstrip(_BLANKS)
        self._blanks = text[len(certain) :]
        if last and not self._calls:
            return text
        return certain

    def _calls_in(self, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return the calls that a JSON value holds; none if any part of it is no call of a known tool."""
        try:
            # Models write line breaks within strings as they are.
            value = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return
        found = [self._call(entry) for entry in (value if isinstance(value, list) else [value])]
        if all(call is not None for call in found):
            yield from (call for call in found if call is not None)

    def _call(self, value: Any) -> tuple[str, dict[str, Any]] | None:
        if not isinstance(value, dict) or value.get("name") not in self._names:
            return None
        arguments = value.get("arguments", {})
        return (value["name"], arguments) if isinstance(arguments, dict) else None

    def _taken(self, name: str, arguments: dict[str, Any]) -> ToolCallDelta | None:
        if self._max_calls is not None and self._calls >= self._max_calls:
            return None
        self._calls += 1
        text = json.dumps(arguments, ensure_ascii=False)
        return ToolCallDelta(index=self._calls - 1, id=self._new_id(), name=name, arguments=_without_surrogates(text))


class _Candidate:
    """A search for the end of the JSON value that begins after an opening tag, continued as text arrives."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.is_complete = False
        """True once the value has its last bracket; false after `end_in` found that it is none."""
        self._at = start
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def end_in(self, text: str) -> int | None:
        """Return where the value ends, or where it shows that it is none; None if that is not known yet."""
        for at in range(self._at, len(text)):
            character = text[at]
            if self._quoted:
                self._read_quoted(character)
            elif self._depth == 0:
                if character in "{[":
                    self._depth = 1
                elif character not in _BLANKS:
                    return at
            elif character not in _OUTSIDE_STRINGS:
                return at
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_complete = True
                    return at + 1
        self._at = len(text)
        return None

    def _read_quoted(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._quoted = False


def _overlap(text: str, tag: str) -> int:
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)


def _without_surrogates(text: str) -> str:
    # Half of a surrogate pair is JSON, but no text.
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text

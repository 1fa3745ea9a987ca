"""Find the ends of sentences.

Every decision depends on the preceding text and on at most a few dozen characters after it, so that text that arrives
in pieces is split exactly as the whole would be.

Full stops, question and exclamation marks end a sentence if white space follows them; dandas and full-width marks
always do. A line break ends one before a blank line, after a short line (a heading, a list item) and before a bullet;
text that was wrapped at the margin continues. A sentence that exceeds the maximum length is cut behind a comma or the
like, else at a space, else between two letters.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from enginehouse.engines.voice.text._characters import WORD
from enginehouse.engines.voice.text.segmentation.abbreviations import (
    BEFORE_NUMBERS,
    BEGINNINGS,
    INITIALS,
    NEVER,
    SOMETIMES,
)
from enginehouse.engines.voice.text.segmentation.cuts import cut_at

_WIDE = "。！？｡।॥"
_MARKS = re.compile(rf"[.!?…؟۔{_WIDE}]+[\"'”’»)\]}}」』）】]*|\n|\r")
_ENDS = (".", "!", "?", "…", "؟", "۔", *_WIDE)
_CLOSERS = "\"'”’»)]}」』）】"
_OPENERS = "\"'“‘«([{「『（【"
_BULLETS = "-*•‣–—#>·"
_WORD_BEFORE = re.compile(r"[^\s\"'“‘«(\[{]+\Z")
_WORD_AFTER = re.compile(rf"[{WORD}]+")
_QUOTING = ("అని", "అనే", "అంటూ", "అన్నా", "అన్నది", "అంది")
"""The beginnings of Telugu words that follow a quotation in the same sentence."""
_NOON = re.compile(r"\s[mM]\.")
_SHORT_LINE = 50
_LOOK_BACK = 24
_LOOK_AHEAD = 64


class EndReason(enum.Enum):
    """The reason why a sentence ends."""

    SENTENCE = "sentence"
    """Its own end."""
    CUT = "cut"
    """The maximum length."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a sentence."""

    at: int
    """The index after its last character."""
    reason: EndReason
    """The reason."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The end is unknown until more text comes."""

    seen: int
    """The index before which the sentence does not end: where to continue when there is more text."""


class SentenceSplitter:
    """Finds the ends of sentences.

    Args:
        max_length: the maximum length of a sentence.
        lines: whether line breaks count; they do not in XML.
    """

    def __init__(self, *, max_length: int, lines: bool) -> None:
        self._max_length = max_length
        self._lines = lines

    def ending(self, text: str, start: int, *, seen: int, column: int, final: bool) -> Ending | Unfinished:
        """Return the end of the sentence that begins at `start`.

        Args:
            text: holds the sentence, from `start` on.
            start: the index of its first character, which is not white space.
            seen: the index before which it does not end; at least `start`.
            column: the number of characters before it on its first line.
            final: whether the text ends here; if so, there is always an ending.
        """
        limit = start + self._max_length
        for mark in _MARKS.finditer(text, seen, min(limit, len(text))):
            line = mark.group() in "\r\n"
            if mark.end() == len(text) and not line and not final:
                return Unfinished(mark.start())
            if not line:
                ends = self._mark_ends(text, start, mark, final=final)
            elif self._lines:
                ends = _line_ends(text, start, mark.start(), column=column, final=final)
            else:
                continue
            if ends is None:
                return Unfinished(mark.start())
            if ends:
                return Ending(mark.start() if line else mark.end(), EndReason.SENTENCE)
        if len(text) > limit:
            return Ending(cut_at(text, start, self._max_length), EndReason.CUT)
        if not final:
            return Unfinished(len(text))
        whole = text.rstrip().rstrip(_CLOSERS).endswith(_ENDS)
        return Ending(len(text), EndReason.SENTENCE if whole else EndReason.CUT)

    def _mark_ends(self, text: str, start: int, mark: re.Match[str], *, final: bool) -> bool | None:
        """Return whether it ends at the marks; None if that takes more text."""
        marks = mark.group().rstrip(_CLOSERS)
        closed = len(marks) < len(mark.group())
        if marks[-1] in _WIDE:
            return True
        if mark.end() < len(text) and not text[mark.end()].isspace():
            return False
        if marks == "." and not closed:
            return _stop_ends(text, start, mark.start(), final=final)
        if (".." in marks or "…" in marks) and "!" not in marks and "?" not in marks:
            after = _after(text, mark.end(), final=final)
            return None if after is None else not after or after.isupper() or after.isdigit()
        if closed:
            after = _after(text, mark.end(), final=final)
            if after is not None and after == _QUOTING[0][0]:
                after = _after(text, mark.end(), final=final, word=True)
            return None if after is None else not (after[:1].islower() or after.startswith(_QUOTING))
        return True


def _stop_ends(text: str, start: int, at: int, *, final: bool) -> bool | None:
    """Return whether the sentence from `start` on ends at the lone full stop at `at`; None if that takes more text."""
    before = _WORD_BEFORE.search(text[max(start, at - _LOOK_BACK) : at])
    word = before.group() if before is not None else ""
    small = word.lower()
    if word in NEVER or small in NEVER:
        return False
    if len(word) <= 3 and word.isascii() and word.isdigit() and at - len(word) == start:
        # The number of a list item.
        return False
    if small in ("a", "p"):
        ahead = text[at + 1 : at + 4]
        if len(ahead) < 3 and not final and (not ahead or ahead[0].isspace()):
            return None
        if _NOON.match(ahead) is not None:
            return False
    numbered = word in BEFORE_NUMBERS
    sometimes = word in SOMETIMES or small in SOMETIMES
    # "St." for street may end a sentence, for saint it does not; the next word decides.
    initials = word != "I" and (word == "St" or INITIALS.fullmatch(word) is not None)
    if not (numbered or sometimes or initials):
        return True
    after = _after(text, at + 1, final=final, word=initials and not (numbered or sometimes))
    if after is None:
        return None
    if numbered:
        return not after.isdigit()
    if sometimes:
        return not (after.islower() or after.isdigit())
    return not after or after in BEGINNINGS


def _line_ends(text: str, start: int, at: int, *, column: int, final: bool) -> bool | None:
    """Return whether the sentence from `start` on ends with its line, at `at`; None if that takes more text."""
    begin = max(text.rfind("\n", start, at), text.rfind("\r", start, at))
    length = at - begin - 1 if begin >= 0 else column + at - start
    line = text[max(start, at - _LOOK_BACK) : at].rstrip()
    word = _WORD_BEFORE.search(line[:-1]) if line.endswith(".") else None
    if word is not None and word.group() in NEVER:
        return False
    if length < _SHORT_LINE:
        return True
    ahead = text[at : at + _LOOK_AHEAD]
    after = ahead.lstrip()
    if line_ends(ahead[: len(ahead) - len(after)]) > 1:
        return True
    if not after and len(ahead) < _LOOK_AHEAD and not final:
        return None
    if after.startswith(">") and (text[begin + 1 : begin + 2] if begin >= 0 else text[start : start + 1]) == ">":
        # A quotation goes on.
        return False
    return not after or after[0] in _BULLETS


def line_ends(text: str) -> int:
    """Return the number of line breaks in a text, by any convention."""
    return max(text.count("\n"), text.count("\r"))


def _after(text: str, at: int, *, final: bool, word: bool = False) -> str | None:
    """Return the next character after white space and quotes, or with `word` the word that begins there; empty if
    nothing is near, None if that takes more text."""
    ahead = text[at : at + _LOOK_AHEAD]
    known = final or len(ahead) == _LOOK_AHEAD
    following = ahead.lstrip().lstrip(_OPENERS)
    if not following:
        return "" if known else None
    found = _WORD_AFTER.match(following) if word else None
    if found is None:
        return following[0]
    return found.group() if known or found.end() < len(following) else None

"""Characters: the parts of words, those that are never spoken, and whether a text can be spoken at all."""

from __future__ import annotations

import re
import unicodedata

# Python's \w leaves out the vowel signs of Indic scripts and the points of Hebrew and Arabic. Of the Indic blocks only
# the dandas (U+0964, U+0965) are not part of words. The joiners at the end shape the letters around them.
WORD = (
    r"\w\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    r"\u0900-\u0963\u0966-\u0dff\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u200c\u200d"
)
"""The inside of a regular expression's brackets: a character of a word."""

_LOOSE_JOINERS = re.compile(rf"(?<![{WORD}])[\u200c\u200d]+")
_SPACES = re.compile(r"\s+")
_FULL_WIDTH = range(0xFF01, 0xFF5F)
_MATHEMATICAL = range(0x1D400, 0x1D800)
_PICTURES = (
    range(0x2190, 0x2200),
    range(0x25A0, 0x2600),
    range(0x27F0, 0x2800),
    range(0x2900, 0x2980),
    range(0x2B00, 0x2C00),
)
"""Arrows and shapes. Unicode counts some of them as mathematical; voices read out their names."""
_EMOJI = "‼⁉〰〽ℹ"
"""Emoji that Unicode counts as punctuation or letters."""
_JOINERS = "\u200c\u200d"


class _Table(dict[int, str | int]):
    """Translation table, computed for each character when it is first seen."""

    def __missing__(self, code: int) -> str | int:
        self[code] = replacement = _replacement(chr(code))
        return replacement


def _replacement(character: str) -> str | int:
    code = ord(character)
    category = unicodedata.category(character)
    if any(code in block for block in _PICTURES) or character in _EMOJI:
        return " "
    if category == "Nd" and code not in _MATHEMATICAL:
        # Digits are the same number in every script; voices know those of their own language at most.
        return str(unicodedata.decimal(character))
    if character in _JOINERS or (code not in _FULL_WIDTH and code not in _MATHEMATICAL and category[0] in "LNZ"):
        return code
    if code in _MATHEMATICAL or (code in _FULL_WIDTH and category[0] in "LN"):
        return unicodedata.normalize("NFKC", character)
    # Direction marks, soft hyphens, variation selectors and keycaps are invisible: they are removed.
    if category in {"Cf", "Me"} or 0xFE00 <= code <= 0xFE0F:
        return ""
    # Emoji and other pictures, unassigned and private characters, and halves of surrogate pairs.
    if category in {"So", "Sk", "Co", "Cn", "Cs", "Cc"} and character not in "°№℃℉^`":
        return " "
    return code


class Cleaner:
    """Remover of characters that are never spoken."""

    def __init__(self) -> None:
        self._table = _Table()

    def clean(self, text: str) -> str:
        """Return the text without emoji, pictures, control and direction marks, each run of white space one space.

        Joiners stay inside words; full-width and mathematical letters, and the digits of all scripts, become plain
        ones. The result never has private
        characters, so they may be used as placeholders.
        """
        if text.isascii():
            if text.isprintable():
                return _SPACES.sub(" ", text) if "  " in text else text
            text = text.translate(self._table)
        else:
            text = _LOOSE_JOINERS.sub("", text.translate(self._table))
        return _SPACES.sub(" ", text)


_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SAYABLE = re.compile(r"[^\W_]")


def is_sayable(text: str) -> bool:
    """Return whether the text has a letter or a digit."""
    return _SAYABLE.search(text) is not None


def check_text(text: str) -> str | None:
    """Return the reason why a text cannot be spoken, in words; None if it can."""
    if not text:
        return "is empty: give at least one word"
    if text.isspace():
        return "is white space only: give at least one word"
    if (bad := _FORBIDDEN.search(text)) is not None:
        code = ord(bad.group())
        kind = "half a surrogate pair" if code >= 0xD800 else "a control character"
        return f"has {kind}, U+{code:04X}, at character {bad.start()}: take it out"
    if not is_sayable(text):
        return "has nothing that can be said, only punctuation, symbols or emoji: give at least one letter or digit"
    return None

"""Write figures in one way, in every language: native digits, groups, Roman and lowered signs.

What is an identifier (a card, an account, a telephone) gets spaces between its digits: any voice then reads them one by
one.
"""

from __future__ import annotations

import re
import unicodedata

from enginehouse.engines.voice.text.normalization.dates import MONTH
from enginehouse.engines.voice.text.normalization.roman import roman

_SPACES = r" \u00a0\u2002-\u200a\u202f"
_RUN = re.compile(
    rf"(?<![\w.,:/#)’'$€£¥₹^])(?P<plus>\+)?(?P<run>[0-9]{{1,19}}(?:[{_SPACES}'’][0-9]{{1,19}}){{1,19}})"
    rf"(?![{_SPACES}'’]?[0-9]|[:/][0-9])"
)
_HYPHENATED = re.compile(r"(?<![\w.,:/#)’'$€£¥₹^+-])[0-9]{2,19}(?:-[0-9]{2,19}){2,9}(?![\w-]|[.,:/][0-9])")
_AFTER_SIGN = re.compile(
    rf"(?<=[$€£¥₹])\s?(?P<minus>[-−])?(?P<run>[0-9]{{1,3}}(?:[{_SPACES}'’][0-9]{{3}}){{1,9}})(?![\w]|[{_SPACES}'’-][0-9])"
)
_SEPARATOR = re.compile(r"[^0-9]")
_MONTH_BEFORE = re.compile(rf"(?:{MONTH})\s\Z")
_ROMAN_SIGNS = re.compile(r"[Ⅰ-ⅿↀ-ↈ]+")
_TELEPHONE_IN_THREES = frozenset({"es", "pt", "pl", "cs", "sk"})
"""Languages of countries whose telephone numbers are written as three groups of three."""


def has_native_digits(text: str) -> bool:
    """Return whether the text has digits other than the ASCII ones."""
    return not text.isascii() and any(character.isdecimal() and not character.isascii() for character in text)


def prepare(text: str, *, language: str, grouped: str) -> str:
    """Return the text with its figures written in one way.

    Args:
        text: a sentence or more.
        language: the primary subtag.
        grouped: the mark to write between groups of three; empty to write none.
    """
    if not text.isascii():
        text = _ascii_figures(text)
    text = _AFTER_SIGN.sub(lambda match: (match["minus"] or "") + _join(match["run"], grouped), text)
    text = _RUN.sub(lambda match: _figures(match, language, grouped), text)
    return _HYPHENATED.sub(_hyphenated, text)


def _ascii_figures(text: str) -> str:
    if has_native_digits(text):
        text = "".join(
            str(unicodedata.decimal(character)) if character.isdecimal() else character for character in text
        )
    text = re.sub(r"(?<=[0-9])٫(?=[0-9])", ".", text)
    text = re.sub(r"(?<=[0-9])٬(?=[0-9])", " ", text).replace("٪", "%")
    text = _ROMAN_SIGNS.sub(_roman_sign, text)
    return text.translate(_LOWERED)


_LOWERED = {0x2080 + digit: str(digit) for digit in range(10)} | {0x208A: "+", 0x208B: "-"}


def _roman_sign(match: re.Match[str]) -> str:
    number = roman(unicodedata.normalize("NFKC", match.group()).upper())
    if number is None:
        return match.group()
    return f" {number}" if match.string[match.start() - 1 : match.start()].isalnum() else str(number)


def _join(run: str, grouped: str) -> str:
    return grouped.join(_SEPARATOR.split(run))


def _figures(match: re.Match[str], language: str, grouped: str) -> str:
    run, plus = match["run"], match["plus"] or ""
    groups = _SEPARATOR.split(run)
    lengths = [len(group) for group in groups]
    total = sum(lengths)
    identifier = total >= 9 and max(lengths) >= 3 and "'" not in run and "’" not in run
    if lengths[0] <= 3 and groups[0][0] != "0" and set(lengths[1:]) == {3}:
        in_threes = lengths == [3, 3, 3] and language in _TELEPHONE_IN_THREES and groups[0][0] in "56789"
        before = match.string[max(0, match.start() - 12) : match.start()]
        if len(groups) == 2 and _MONTH_BEFORE.search(before) is not None:
            return match.group()
        if not (in_threes or plus):
            return _join(run, grouped)
    if plus and match.string[match.end() : match.end() + 1] == "-":
        # The number goes on: it is told by the rules for telephones.
        return match.group()
    if not identifier or all(
        length == 4 and "1500" <= group <= "2099" for length, group in zip(lengths, groups, strict=True)
    ):
        return match.group()
    return plus + _one_by_one(groups)


def _hyphenated(match: re.Match[str]) -> str:
    groups = match.group().split("-")
    return _one_by_one(groups) if sum(map(len, groups)) >= 9 else match.group()


def _one_by_one(groups: list[str]) -> str:
    return ", ".join(" ".join(group) for group in groups)

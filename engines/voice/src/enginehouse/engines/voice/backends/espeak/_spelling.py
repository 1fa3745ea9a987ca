"""Texts that are said letter by letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from html import escape
from itertools import groupby

# Joins the letters around it into one sign: the virama of the scripts of India and their neighbours.
_VIRAMA = 9
_ZERO_WIDTH_JOINER = "‍"


def spelled(text: str) -> str:
    """The text as an SSML document that says it sign by sign.

    A sign of one character is named ("&" is "and"). A sign of several, such as the Telugu "స్తే", is said as it
    sounds: the names of its parts are what nobody calls it.
    """
    parts = []
    for single, signs in groupby(_signs(text), key=lambda sign: len(sign) == 1):
        if single:
            parts.append(f'<say-as interpret-as="characters">{escape("".join(signs))}</say-as>')
        else:
            parts.extend(escape(sign) for sign in signs)
    return f"<speak>{' '.join(parts)}</speak>"


def _signs(text: str) -> Iterator[str]:
    """What a reader takes for one sign each: a character and all that leans on it."""
    sign = ""
    for character in unicodedata.normalize("NFC", text):
        leans = unicodedata.category(character).startswith("M") or character == _ZERO_WIDTH_JOINER
        joined = sign and (unicodedata.combining(sign[-1]) == _VIRAMA or sign[-1] == _ZERO_WIDTH_JOINER)
        if sign and (leans or (joined and character.isalpha())):
            sign += character
            continue
        if sign:
            yield sign
        sign = character
    if sign:
        yield sign

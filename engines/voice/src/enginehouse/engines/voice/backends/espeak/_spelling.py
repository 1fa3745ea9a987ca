"""Spell texts letter by letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from html import escape
from itertools import groupby

# The virama of Indic and neighbouring scripts joins the letters around it into one grapheme.
_VIRAMA = 9
_ZERO_WIDTH_JOINER = "‍"


def spelled(text: str) -> str:
    """Return the text as an SSML document that spells it grapheme by grapheme.

    A grapheme of one character is named ("&" is "and"). A grapheme of several, such as the Telugu "స్తే", is spoken as
    it sounds: nobody calls it by the names of its parts.
    """
    parts = []
    for single, signs in groupby(_graphemes(text), key=lambda sign: len(sign) == 1):
        if single:
            parts.append(f'<say-as interpret-as="characters">{escape("".join(signs))}</say-as>')
        else:
            parts.extend(escape(sign) for sign in signs)
    return f"<speak>{' '.join(parts)}</speak>"


def _graphemes(text: str) -> Iterator[str]:
    """Yield the graphemes: a character with its combining marks and joined letters."""
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

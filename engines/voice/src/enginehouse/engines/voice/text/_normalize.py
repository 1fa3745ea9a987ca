"""Text normalization by language."""

from __future__ import annotations

from enginehouse.engines.voice.text.en.normalize import normalize_english
from enginehouse.engines.voice.text.normalization.rules import tidy
from enginehouse.engines.voice.text.te.normalize import normalize_telugu
from enginehouse.kit.scripts import primary


def normalize(text: str, language: str) -> str:
    """Return a text with numbers, dates, times, amounts, addresses, abbreviations and signs in words.

    Takes linear time. Only English and Telugu are normalized: the voices of other languages read figures themselves.

    Args:
        text: a sentence or more.
        language: a BCP 47 tag.
    """
    match primary(language):
        case "en":
            return normalize_english(text)
        case "te":
            return normalize_telugu(text)
        case _:
            return tidy(text)

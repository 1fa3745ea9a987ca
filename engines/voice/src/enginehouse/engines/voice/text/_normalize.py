"""Text normalization by language."""

from __future__ import annotations

from enginehouse.engines.voice.text.cldr.normalize import normalize_by_cldr
from enginehouse.engines.voice.text.en.normalize import normalize_english
from enginehouse.engines.voice.text.normalization.markup import strip_markup
from enginehouse.engines.voice.text.te.normalize import normalize_telugu
from enginehouse.kit.scripts import primary


def normalize(text: str, language: str) -> str:
    """Return a text with numbers, dates, times, amounts, addresses, abbreviations and signs in words.

    Takes linear time. Only English and Telugu have words for all of it: in other languages numbers stay figures, which
    their voices read, and what those leave out or misread becomes words.

    Args:
        text: a sentence or more.
        language: a BCP 47 tag.
    """
    text = strip_markup(text)
    match primary(language):
        case "en":
            return normalize_english(text, american=language.lower().endswith("-us"))
        case "te":
            return normalize_telugu(text)
        case _:
            return normalize_by_cldr(text, language)

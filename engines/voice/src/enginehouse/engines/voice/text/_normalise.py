"""Text as it is said, by its language."""

from __future__ import annotations

from enginehouse.engines.voice.text._scripts import primary
from enginehouse.engines.voice.text.en.normalise import normalise_english
from enginehouse.engines.voice.text.normalization.rules import tidy
from enginehouse.engines.voice.text.te.normalise import normalise_telugu


def normalise(text: str, language: str) -> str:
    """A text with numbers, dates, times, amounts, addresses, abbreviations and signs in words. Linear in the text.

    English and Telugu are written out here. The voices of other languages read figures themselves: their texts keep
    theirs.

    Args:
        text: a sentence or more.
        language: a BCP 47 tag.
    """
    match primary(language):
        case "en":
            return normalise_english(text)
        case "te":
            return normalise_telugu(text)
        case _:
            return tidy(text)

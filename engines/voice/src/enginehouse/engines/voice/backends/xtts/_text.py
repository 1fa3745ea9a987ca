"""What XTTS can be given to say: its languages, and texts cut to what it says in one breath."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

MAX_TEXT_LENGTH = 250
"""The most characters that a language's utterance has, where the language is not in `LIMITS`."""
LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "en": 250, "de": 253, "fr": 273, "es": 239, "it": 213, "pt": 203, "pl": 224, "zh": 82, "ar": 166, "cs": 186,
        "ru": 182, "nl": 251, "tr": 226, "ja": 71, "hu": 224, "ko": 95, "hi": 150,
    }
)  # fmt: skip
"""The most characters that XTTS says in one go, by language: longer texts are cut short or garbled."""
NEEDED_MODULES: Mapping[str, tuple[str, str]] = MappingProxyType({"zh": ("pypinyin", "zh"), "ja": ("cutlet", "ja")})
"""What reads a language's script for XTTS: the module, and the extra of coqui-tts that brings it."""

# Where a text is best cut, best first: after a sentence, after part of one, between words.
_CUTS = (
    re.compile(r"[.!?؟]+\s+|[。！？।]+\s*"),
    re.compile(r"[,;:،؛–—]+\s+|[、，；：]+\s*"),
    re.compile(r"\s+"),
)


def speakable(languages: Sequence[str]) -> Sequence[str]:
    """The primary subtags of a model's languages, in its order, less those whose script nothing here can read."""
    tags = dict.fromkeys(tag.partition("-")[0] for tag in languages)
    return [tag for tag in tags if not unread(tag)]


def unread(language: str) -> str:
    """The command that installs what reads the language's script, where that is not installed; empty otherwise."""
    module, extra = NEEDED_MODULES.get(language, ("", ""))
    if not module or importlib.util.find_spec(module) is not None:
        return ""
    return f"pip install 'coqui-tts[{extra}]'"


def breaths(text: str, language: str) -> Sequence[str]:
    """The text in parts that XTTS can say in one go each, cut after sentences, else clauses, else words."""
    return list(_cut(text.strip(), LIMITS.get(language, MAX_TEXT_LENGTH)))


def spelled(text: str) -> str:
    """The text sign by sign, with a pause between; marks stay with their letter."""
    signs: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        if signs and unicodedata.category(character).startswith("M"):
            signs[-1] += character
        elif not character.isspace():
            signs.append(character)
    return ", ".join(signs)


def _cut(text: str, limit: int) -> Iterator[str]:
    while len(text) > limit:
        ends = (max((found.end() for found in cut.finditer(text, 0, limit)), default=0) for cut in _CUTS)
        # Not in its first third: it would make a breath of a word or two.
        end = next((end for end in ends if end > limit // 3), limit)
        if part := text[:end].strip():
            yield part
        text = text[end:].lstrip()
    if text:
        yield text

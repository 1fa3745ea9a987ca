"""Text for XTTS: supported languages, and texts split to its maximum lengths."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

MAX_TEXT_LENGTH = 250
"""The maximum length of an utterance in languages that are not in `LIMITS`, in characters."""
LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "en": 250, "de": 253, "fr": 273, "es": 239, "it": 213, "pt": 203, "pl": 224, "zh": 82, "ar": 166, "cs": 186,
        "ru": 182, "nl": 251, "tr": 226, "ja": 71, "hu": 224, "ko": 95, "hi": 150,
    }
)  # fmt: skip
"""The maximum length of an utterance by language, in characters: XTTS truncates or garbles longer texts."""
NEEDED_MODULES: Mapping[str, tuple[str, str]] = MappingProxyType({"zh": ("pypinyin", "zh"), "ja": ("cutlet", "ja")})
"""The module that reads a language's script for XTTS, and the extra of coqui-tts that installs it."""

# Places to cut a text, best first: after a sentence, after a clause, between words.
_CUTS = (
    re.compile(r"[.!?؟]+\s+|[。！？।]+\s*"),
    re.compile(r"[,;:،؛–—]+\s+|[、，；：]+\s*"),
    re.compile(r"\s+"),
)


def supported_languages(languages: Sequence[str]) -> Sequence[str]:
    """Return the primary subtags of a model's languages, in its order, without those whose script cannot be read."""
    tags = dict.fromkeys(tag.partition("-")[0] for tag in languages)
    return [tag for tag in tags if not missing_reader(tag)]


def missing_reader(language: str) -> str:
    """Return the command that installs the missing reader of the language's script; empty if none is missing."""
    module, extra = NEEDED_MODULES.get(language, ("", ""))
    if not module or importlib.util.find_spec(module) is not None:
        return ""
    return f"pip install 'coqui-tts[{extra}]'"


def split_for_model(text: str, language: str) -> Sequence[str]:
    """Split a text into parts that XTTS can speak, after sentences, else clauses, else words."""
    return list(_cut(text.strip(), LIMITS.get(language, MAX_TEXT_LENGTH)))


def spelled(text: str) -> str:
    """Return the text letter by letter, with pauses between; combining marks stay with their letter."""
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
        # Not in its first third, which would make a part of a word or two.
        end = next((end for end in ends if end > limit // 3), limit)
        if part := text[:end].strip():
            yield part
        text = text[end:].lstrip()
    if text:
        yield text

"""Whisper's languages, as its own codes and as BCP 47 tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

CODES = (
    "en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr", "pl", "ca", "nl", "ar", "sv", "it", "id", "hi", "fi",
    "vi", "he", "uk", "el", "ms", "cs", "ro", "da", "hu", "ta", "no", "th", "ur", "hr", "bg", "lt", "la", "mi", "ml",
    "cy", "sk", "te", "fa", "lv", "bn", "sr", "az", "sl", "kn", "et", "mk", "br", "eu", "is", "hy", "ne", "mn", "bs",
    "kk", "sq", "sw", "gl", "mr", "pa", "si", "km", "sn", "yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu", "am",
    "yi", "lo", "uz", "fo", "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my", "bo", "tl", "mg", "as", "tt", "haw", "ln",
    "ha", "ba", "jw", "su", "yue",
)  # fmt: skip
"""Whisper's codes in the order of the models' tokens: a model with fewer languages has the first ones."""

# A model's vocabulary: these tokens, and one for each language; one more token and no languages if it has only English.
_OTHER_TOKENS = 51_765
_MULTILINGUAL_TOKENS = 51_865

# Whisper's code differs from the tag, or covers what has a tag of its own.
_TAGS: Mapping[str, str] = MappingProxyType({"jw": "jv"})
_CODES_OF_TAGS: Mapping[str, str] = MappingProxyType({"jv": "jw", "nb": "no", "fil": "tl", "iw": "he", "cmn": "zh"})


def code_of(tag: str) -> str:
    """Whisper's code for a BCP 47 tag, such as "pt" for "pt-BR"; empty where it has none."""
    primary = tag.partition("-")[0].lower()
    code = _CODES_OF_TAGS.get(primary, primary)
    return code if code in CODES else ""


def tag_of(code: str) -> str:
    """The BCP 47 tag of one of Whisper's codes."""
    return _TAGS.get(code, code)


def codes_of(vocabulary: int) -> Sequence[str]:
    """Whisper's codes of a model's languages, by the number of its tokens: only English, or up to a hundred."""
    if vocabulary < _MULTILINGUAL_TOKENS:
        return ("en",)
    return CODES[: vocabulary - _OTHER_TOKENS - 1]

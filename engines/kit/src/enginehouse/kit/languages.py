"""Tags of languages (BCP 47): their canonical form, and whether two of them name one language."""

from __future__ import annotations

import re

_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,6}")
_MAX_LENGTH = 35
# Other subtags for the same language: withdrawn ones, languages of a macrolanguage that stand for all of it, and the
# three letters of languages that have two.
_SAME = {
    "cmn": "zh", "fil": "tl", "in": "id", "iw": "he", "ji": "yi", "jw": "jv", "nb": "no", "nn": "no", "arb": "ar",
    "pes": "fa", "swh": "sw", "zsm": "ms", "ara": "ar", "ben": "bn", "deu": "de", "eng": "en", "fra": "fr", "hin": "hi",
    "ita": "it", "jpn": "ja", "kan": "kn", "kor": "ko", "mal": "ml", "mar": "mr", "por": "pt", "rus": "ru", "spa": "es",
    "tam": "ta", "tel": "te", "urd": "ur", "zho": "zh",
}  # fmt: skip


def language_tag(tag: str) -> str:
    """Return a BCP 47 tag in its canonical case: "te", "en-GB", "sr-Latn-RS". An underscore counts as a hyphen.

    Raises:
        ValueError: it is not of the form of a tag.
    """
    given = tag.replace("_", "-")
    if len(given) > _MAX_LENGTH or not _TAG.fullmatch(given):
        raise ValueError(f"{tag[:_MAX_LENGTH]!r} is not a language tag; write one such as 'te' or 'en-GB'")
    language, *rest = given.lower().split("-")
    parts, private = [language], False
    for part in rest:
        private = private or len(part) == 1
        if not private and len(part) == 2:
            part = part.upper()
        elif not private and len(part) == 4 and part.isalpha():
            part = part.title()
        parts.append(part)
    return "-".join(parts)


def language_of(tag: str) -> str:
    """Return the language that a tag names, without script, region and variants: "en" of "en-GB", "zh" of "cmn"."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return _SAME.get(primary, primary)

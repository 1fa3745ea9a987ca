"""Tags of languages (BCP 47): their canonical form, whether two of them name one language, and the nearest of several.

The router picks models by these rules, and engines pick voices by them, so that a model that was picked for a language
speaks it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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
# Close relatives, which speak for a language that has no voice of its own.
_RELATED = {"ckb": "ku", "mo": "ro", "sh": "hr"}
# A region's own kind of a language, where its tag alone does not decide: in unlisted regions English follows Britain
# and Spanish America. "" is no region.
_AMERICAN = ("", "as", "ca", "gu", "jp", "kr", "lr", "mh", "mp", "ph", "pr", "um", "us", "vi")
_CARIBBEAN = ("ag", "bb", "bs", "bz", "dm", "gd", "gy", "jm", "kn", "lc", "tt", "vc")
_REGIONS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "en": (dict.fromkeys(_AMERICAN, "en-us") | dict.fromkeys(_CARIBBEAN, "en-029"), "en-gb"),
    "es": (dict.fromkeys(("", "ea", "es", "gq", "ic"), "es"), "es-419"),
    "zh": (dict.fromkeys(("hk", "mo"), "yue"), "cmn"),
}


def language_tag(tag: str) -> str:
    """Return a BCP 47 tag in its canonical case: "te", "en-GB", "sr-Latn-RS". An underscore counts as a hyphen.

    Raises:
        ValueError: it is not of the form of a tag.
    """
    given = tag.replace("_", "-")
    if len(given) > _MAX_LENGTH or not _TAG.fullmatch(given):
        raise ValueError(f"{tag[:_MAX_LENGTH]!r} is not a language tag; write one such as 'te' or 'en-GB'")
    return canonical_case(given)


def canonical_case(tag: str) -> str:
    """Return a tag in its canonical case, whatever its form is."""
    language, *rest = fold_tag(tag).split("-")
    parts, private = [language], False
    for part in rest:
        private = private or len(part) == 1
        if not private and len(part) == 2:
            part = part.upper()
        elif not private and len(part) == 4 and part.isalpha():
            part = part.title()
        parts.append(part)
    return "-".join(parts)


def fold_tag(tag: str) -> str:
    """Return a tag in the form that is compared: in lower case and with hyphens."""
    return tag.replace("_", "-").lower()


def is_tag(text: str) -> bool:
    """Return whether a text has the form of a tag; its language may be unknown."""
    return len(text) <= _MAX_LENGTH and _TAG.fullmatch(text.replace("_", "-")) is not None


def language_of(tag: str) -> str:
    """Return the language that a tag names, without script, region and variants: "en" of "en-GB", "zh" of "cmn"."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return _SAME.get(primary, primary)


def nearest_tag(tag: str, known: Collection[str]) -> str | None:
    """Return the known tag that is nearest to another: the same, a more general one, its region's, one of the same
    language elsewhere, or a close relative's; None if there is none, or the text is not of the form of a tag.

    Args:
        tag: any text.
        known: folded tags (`fold_tag`).
    """
    if not is_tag(tag):
        return None
    primary, *rest = fold_tag(tag).split("-")
    for length in range(len(rest), 0, -1):
        general = "-".join((primary, *rest[:length]))
        if general in known:
            return general
    region = next((part for part in rest if len(part) == 2 or part.isdecimal()), "")
    language = language_of(primary)
    same = [name for name, canonical in _SAME.items() if canonical == language]
    for name in (primary, language, *same, *filter(None, [_RELATED.get(primary)])):
        if found := _within_language(name, region, known):
            return found
    return None


def _within_language(language: str, region: str, known: Collection[str]) -> str | None:
    if language in _REGIONS:
        regions, others = _REGIONS[language]
        found = regions.get(region, others)
        if found in known:
            return found
    if language in known:
        return language
    # "fr-FR" rather than "fr-BE": the region that the language is named after.
    home = f"{language}-{language}"
    within = [tag for tag in known if tag.startswith(f"{language}-")]
    return min(within, key=lambda tag: (tag != home, len(tag), tag), default=None)

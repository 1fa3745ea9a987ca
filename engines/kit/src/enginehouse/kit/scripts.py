"""Scripts of texts and of languages, and the language that a script suggests."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from enginehouse.kit.languages import language_of

_RANGES = {
    "Latin": r"A-Za-zªºÀ-ÖØ-öø-ʸ\u1e00-\u1eff\ufb00-\ufb06",
    "Greek": r"\u0370-\u0373\u0376-\u037d\u037f\u0386\u0388-\u03ff\u1f00-\u1fff",
    "Cyrillic": r"\u0400-\u052f\u1c80-\u1c88\u2de0-\u2dff\ua640-\ua69f",
    "Armenian": r"\u0531-\u0556\u0560-\u0588",
    "Hebrew": r"\u0591-\u05f4\ufb1d-\ufb4f",
    "Arabic": r"\u0610-\u061a\u0620-\u06d3\u06d5-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "Devanagari": r"\u0900-\u0963\u0966-\u097f\ua8e0-\ua8ff",
    "Bengali": r"\u0980-\u09ff",
    "Gurmukhi": r"\u0a00-\u0a7f",
    "Gujarati": r"\u0a80-\u0aff",
    "Odia": r"\u0b00-\u0b7f",
    "Tamil": r"\u0b80-\u0bff",
    "Telugu": r"\u0c00-\u0c7f",
    "Kannada": r"\u0c80-\u0cff",
    "Malayalam": r"\u0d00-\u0d7f",
    "Sinhala": r"\u0d80-\u0dff",
    "Thai": r"\u0e01-\u0e3a\u0e40-\u0e5b",
    "Lao": r"\u0e80-\u0eff",
    "Myanmar": r"\u1000-\u109f",
    "Georgian": r"\u10a0-\u10ff\u1c90-\u1cbf",
    "Ethiopic": r"\u1200-\u139f",
    "Khmer": r"\u1780-\u17ff",
    "Hangul": r"\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "Kana": r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d",
    "Han": r"\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
}
_LANGUAGES = {
    "Telugu": "te",
    "Devanagari": "hi",
    "Tamil": "ta",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Bengali": "bn",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Odia": "or",
    "Sinhala": "si",
    "Arabic": "ar",
    "Hebrew": "he",
    "Cyrillic": "ru",
    "Greek": "el",
    "Armenian": "hy",
    "Georgian": "ka",
    "Ethiopic": "am",
    "Hangul": "ko",
    "Kana": "ja",
    "Han": "zh",
    "Thai": "th",
    "Lao": "lo",
    "Myanmar": "my",
    "Khmer": "km",
}
"""For scripts that several languages share, the one with most speakers."""

_WRITTEN_IN: dict[str, Sequence[str]] = {language: (script,) for script, language in _LANGUAGES.items()} | {
    "ja": ("Kana", "Han"),
    "ko": ("Hangul", "Han"),
    "yue": ("Han",),
    "cmn": ("Han",),
    **dict.fromkeys(("mr", "ne", "sa", "kok", "mai", "bho", "doi", "brx"), ("Devanagari",)),
    "sd": ("Arabic", "Devanagari"),
    "ks": ("Arabic", "Devanagari"),
    "pa": ("Gurmukhi", "Arabic"),
    "as": ("Bengali",),
    "bpy": ("Bengali",),
    **dict.fromkeys(("fa", "ur", "ps", "ug", "ckb"), ("Arabic",)),
    **dict.fromkeys(("ku",), ("Latin", "Arabic")),
    **dict.fromkeys(("uk", "be", "bg", "mk", "ky", "ba", "cv", "tt", "mn"), ("Cyrillic",)),
    **dict.fromkeys(("sr", "uz", "kk", "az", "bs"), ("Cyrillic", "Latin")),
    "yi": ("Hebrew",),
    "ti": ("Ethiopic",),
    "grc": ("Greek",),
    **dict.fromkeys(
        (
            *("af", "an", "ca", "cs", "cy", "da", "de", "en", "eo", "es", "et", "eu", "fi", "fil", "fr", "ga", "gd"),
            *("gl", "hr", "ht", "hu", "ia", "id", "io", "is", "it", "jv", "la", "lb", "lt", "lv", "mi", "ms", "mt"),
            *("nb", "nl", "nn", "no", "pl", "pt", "ro", "sk", "sl", "so", "sq", "sv", "sw", "tl", "tn", "tr", "vi"),
            *("xh", "yo", "zu"),
        ),
        ("Latin",),
    ),
}
_SUBTAGS: dict[str, Sequence[str]] = {
    "latn": ("Latin",),
    "cyrl": ("Cyrillic",),
    "arab": ("Arabic",),
    "deva": ("Devanagari",),
    "guru": ("Gurmukhi",),
    "telu": ("Telugu",),
    "beng": ("Bengali",),
    "hans": ("Han",),
    "hant": ("Han",),
    "jpan": ("Kana", "Han"),
    "kore": ("Hangul", "Han"),
}
_ASCII = re.compile(r"[A-Za-z]")
# The first alternatives are found fastest; characters of no script, such as a space, are skipped fast.
_RUN = re.compile(
    r"(?=[A-Za-z\x80-\U0010ffff])(?:"
    + "|".join(
        f"(?P<{script}>[{_RANGES[script]}]+)" for script in sorted(_RANGES, key=lambda script: script != "Telugu")
    )
    + ")"
)


class ScriptRun(NamedTuple):
    """A run of letters of one script."""

    script: str
    """The script's name, such as "Telugu"."""
    start: int
    """The index of its first character."""
    end: int
    """The index after its last one."""


def runs(text: str) -> Iterator[ScriptRun]:
    """Yield the runs of letters, in order; digits, marks and spaces between them belong to none."""
    for match in _RUN.finditer(text):
        assert match.lastgroup is not None
        yield ScriptRun(match.lastgroup, match.start(), match.end())


def scripts_of(text: str) -> dict[str, int]:
    """Return the number of letters of each script, by the script's name, the most frequent first."""
    counts: Counter[str] = Counter()
    for match in _RUN.finditer(text):
        assert match.lastgroup is not None
        counts[match.lastgroup] += match.end() - match.start()
    return dict(counts.most_common())


def primary(language: str) -> str:
    """The primary subtag of a BCP 47 tag: "en" of "en-IN"."""
    return language.partition("-")[0].lower()


def written_in(language: str) -> frozenset[str]:
    """Return the names of the scripts that a language is written in, by its BCP 47 tag; empty if unknown.

    A script subtag decides: "sr-Latn" is written in Latin letters only.
    """
    for subtag in language.lower().split("-")[1:]:
        if subtag in _SUBTAGS:
            return frozenset(_SUBTAGS[subtag])
    return frozenset(_WRITTEN_IN.get(primary(language), ()))


@functools.cache
def languages_in(script: str) -> tuple[str, ...]:
    """Return the languages that are written in a script, as canonical names, sorted; none for an unknown script."""
    return tuple(sorted({language_of(tag) for tag, scripts in _WRITTEN_IN.items() if script in scripts}))


def readable(script: str, language: str) -> bool:
    """Return whether a voice of the language can read letters of the script.

    Latin letters are always readable: names, brands and foreign words use them everywhere, and voices expect that.
    """
    scripts = written_in(language)
    return script == "Latin" or not scripts or script in scripts


def reads(own: Sequence[str], language: str) -> bool:
    """Return whether a voice of the languages `own` can read the letters of another language.

    If it can, it speaks that language, with an accent. A voice of no known languages speaks all of them.
    """
    scripts = written_in(language)
    return not own or not scripts or any(readable(script, tag) for tag in own for script in scripts)


def dominant(text: str) -> str:
    """Return the script of most letters; empty if there are none. Kana and Han count together."""
    if text.isascii():
        return "Latin" if _ASCII.search(text) is not None else ""
    counts = scripts_of(text)
    if "Kana" in counts and "Han" in counts:
        # Japanese mixes the two in every sentence.
        counts["Kana"] += counts.pop("Han")
    return max(counts, key=counts.__getitem__) if counts else ""


def language_of_script(script: str, *, default: str) -> str:
    """Return the language that a script suggests; `default` for Latin letters and for none."""
    return _LANGUAGES.get(script, default)


def detect_language(text: str, *, default: str = "en") -> str:
    """Detect the language of a text, as a BCP 47 tag, by the script of most of its letters.

    Of languages that share a script it is the one with most speakers (Hindi for Devanagari, Russian for Cyrillic); Han
    is Japanese in a text with kana and Chinese otherwise. Latin letters, and texts without letters, are `default`.
    """
    return language_of_script(dominant(text), default=default)


def script_mismatch(text: str, language: str) -> str | None:
    """Return an error, in words, if most of a text is in letters that its language is not written in; None otherwise.

    Latin letters never count, nor do a few foreign words in a text: each is spoken in its own language.
    """
    scripts = written_in(language)
    wrong = {script: count for script, count in scripts_of(text).items() if not readable(script, language)}
    if not wrong or sum(wrong.values()) * 2 <= sum(scripts_of(text).values()):
        return None
    script = max(wrong, key=wrong.__getitem__)
    return (
        f"{language!r} is written in {' and '.join(sorted(scripts))} letters, the text mostly in {script} ones: "
        f"use {_LANGUAGES.get(script, 'en')!r}, or leave the language empty to have it detected"
    )

"""Names of voices: whether a model has the voice that a request names.

A name is a voice's id, an alias, or a language tag, which means the nearest voice of that language. Any of them may
have a variant ("te+f2"), and a variant may stand alone ("+f2"): it speaks the language of the text.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection

from enginehouse.kit.languages import fold_tag, nearest_tag

# "no-such-voice" has the form of a tag too: of a name that a voice may have, every part must be one that tags know.
_SCRIPTS = (
    "arab|armn|beng|cans|cher|cyrl|deva|ethi|geor|gonm|grek|gujr|guru|hang|hani|hans|hant|hebr|hira|jpan|kana|khmr|knda|"
    "kore|laoo|latn|limb|mlym|mong|mtei|mymr|nkoo|olck|orya|shaw|sinh|syrc|taml|telu|tfng|thaa|thai|tibt|yiii"
)
_VARIANTS = "oxendict|pinyin|jyutping|wadegile|scotland|scouse|valencia|simple|fonipa|arevela|arevmda|ekavsk|ijekavsk"
_LANGUAGE = re.compile(
    rf"[a-z]{{2,3}}(-(cmn|hak|nan|wuu|yue))?(-({_SCRIPTS}))?(-([a-z]{{2}}|[0-9]{{3}}))?(-({_VARIANTS}|[0-9][a-z0-9]{{3}}))*"
    r"(-[a-z0-9](-[a-z0-9]{1,8})+)?"
)

OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
"""The names that OpenAI's clients use. Every model takes them: those that have no alias for one speak with their own
voice."""


class VoiceFit(enum.IntEnum):
    """The fit of a model's voices to a requested one; a greater one fits better."""

    NONE = 0
    """It has no such voice."""
    LANGUAGE = 1
    """It has no voice of that name, but speaks the language that the name is the tag of."""
    NAME = 2
    """It has a voice of that name."""


def voice_fit(name: str, *, voices: Collection[str], languages: Collection[str]) -> VoiceFit:
    """Return the fit of a model's voices to a requested one.

    Args:
        name: the name in the request.
        voices: the folded ids, aliases and variants ("+f2") that the model is registered with (`fold_tag`).
        languages: its folded languages.
    """
    wanted = fold_tag(name)
    if wanted in voices:
        return VoiceFit.NAME
    base, plus, variant = wanted.partition("+")
    if plus and f"+{variant}" not in voices:
        return VoiceFit.NONE
    if base in voices:
        return VoiceFit.NAME
    return VoiceFit.NONE if language_voice(base, languages) is None else VoiceFit.LANGUAGE


def language_voice(name: str, languages: Collection[str]) -> str | None:
    """Return the tag whose voice a name means, if it is that of a language: the nearest one; None if there is none.

    Args:
        name: the name, without a variant.
        languages: the folded tags of the languages that a model speaks.
    """
    return nearest_tag(name, languages) if _LANGUAGE.fullmatch(fold_tag(name)) else None

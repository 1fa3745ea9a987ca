"""Names of voices: whether a model has the voice that a request names.

A name is a voice's id, an alias, or a language tag, which means the nearest voice of that language. Any of them may
have a variant ("te+f2"), and a variant may stand alone ("+f2"): it speaks the language of the text.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

from enginehouse.kit.languages import fold_tag, nearest_tag

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
    return VoiceFit.NONE if nearest_tag(base, languages) is None else VoiceFit.LANGUAGE

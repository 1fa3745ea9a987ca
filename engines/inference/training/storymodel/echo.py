"""Exercises in repeating a text, which are the plainest way to learn to look at the prompt.

Words drawn at random can't be guessed, so the only way to lower the loss is to copy. A small model
that gets these early finds the same trick useful for the words of a request.
"""

from __future__ import annotations

import random

from engines.inference.training.storymodel.conversation import Turn
from engines.inference.training.storymodel.vocabulary import (
    ADJECTIVES,
    ANIMALS,
    NAMES,
    PEOPLE,
    PLACES,
    TELUGU_ADJECTIVES,
    TELUGU_KINDS,
    THINGS,
    with_article,
)

REQUESTS = (
    "Repeat: {text}",
    "Say this again: {text}",
    "Repeat after me: {text}",
    "Copy these words: {text}",
    "Write down: {text}",
)
REQUESTS_TE = ("మళ్ళీ చెప్పు: {text}", "ఇలా రాయి: {text}")
_ANY = ANIMALS + PEOPLE + THINGS + PLACES + NAMES + ADJECTIVES
_ANY_TE = tuple(noun for kind in TELUGU_KINDS for noun in kind) + TELUGU_ADJECTIVES


def echo(rng: random.Random) -> list[Turn]:
    """Return a request to repeat a text, and the text."""
    if rng.random() < 0.2:
        text = " ".join(rng.choices(_ANY_TE, k=rng.randint(1, 8)))
        request = rng.choice(REQUESTS_TE)
    else:
        kind = rng.random()
        if kind < 0.4:
            text = ", ".join(rng.choices(_ANY, k=rng.randint(1, 12)))
        elif kind < 0.7:
            text = " ".join(rng.choices(_ANY, k=rng.randint(2, 12)))
        else:
            text = with_article(f"{rng.choice(ADJECTIVES)} {rng.choice(ANIMALS + PEOPLE)}")
        request = rng.choice(REQUESTS)
    return [Turn(role="user", content=request.format(text=text)), Turn(role="assistant", content=text)]

"""The share of answers that are about the prompt: whether the prompt's noun occurs in them.

This figure matters most for a model this small. Prompts are drawn with a fixed seed from words and
templates that the training uses too; only the combinations are new.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

from engines.inference.training.storymodel.chat import ask, start_server
from engines.inference.training.storymodel.vocabulary import (
    ADJECTIVES,
    ANIMALS,
    PEOPLE,
    TELUGU_ADJECTIVES,
    TELUGU_KINDS,
    plural,
    with_article,
)


@dataclass(frozen=True, kw_only=True)
class Obedience:
    """The number of ``asked`` prompts, of answers with the noun, and of answers that ended by themselves."""

    asked: int
    mentioned: int
    ended: int


def english_prompts(rng: random.Random, *, count: int) -> list[tuple[str, str]]:
    """Pairs of noun and prompt."""
    nouns = [rng.choice(ANIMALS + PEOPLE) for _ in range(count)]
    return [(noun, f"Tell me a story about {with_article(f'{rng.choice(ADJECTIVES)} {noun}')}") for noun in nouns]


def telugu_prompts(rng: random.Random, *, count: int) -> list[tuple[str, str]]:
    """Pairs of noun and prompt."""
    every = [noun for kind in TELUGU_KINDS for noun in kind]
    nouns = [rng.choice(every) for _ in range(count)]
    return [(noun, f"ఒక {rng.choice(TELUGU_ADJECTIVES)} {noun} గురించి కథ చెప్పు") for noun in nouns]


def names(answer: str, noun: str) -> bool:
    """Return whether the noun occurs as a word: in either number in English, with any ending in Telugu."""
    if noun.isascii():
        return re.search(rf"\b({re.escape(noun)}|{re.escape(plural(noun))})\b", answer, re.I) is not None
    return any(word.startswith(noun) for word in re.split(r"[^\u0c00-\u0c7f]+", answer))


def measure(model: Path, pairs: list[tuple[str, str]], *, temperature: float, seed: int) -> Obedience:
    """Ask every prompt once."""
    server = start_server(model)
    mentioned = ended = 0
    for number, (noun, prompt) in enumerate(pairs):
        answer = ask(server, prompt, system=None, temperature=temperature, seed=seed + number)
        mentioned += names(answer.content, noun)
        ended += answer.finish_reason == "stop"
    return Obedience(asked=len(pairs), mentioned=mentioned, ended=ended)

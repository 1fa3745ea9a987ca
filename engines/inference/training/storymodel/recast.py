"""Replacement of a passage's main character, so that only the prompt can tell who it is.

A model that sees few stories learns them by heart and then ignores what it was asked for. When the
crow of a story is a fox the next time and a potter the time after, copying the word out of the
prompt is the only thing that works. This module knows words, not tokens or templates.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass

from engines.inference.training.storymodel.corpus import Language
from engines.inference.training.storymodel.vocabulary import (
    ADJECTIVES,
    ANIMALS,
    NAMES,
    PEOPLE,
    PLACES,
    TELUGU_ADJECTIVES,
    TELUGU_KINDS,
    TELUGU_PLACES,
    THINGS,
    plural,
    with_article,
)

_SINGULAR = {form: noun for noun in ANIMALS + PEOPLE for form in (noun, plural(noun))}
_WORD = re.compile(r"[A-Za-z]+")
_MID_SENTENCE_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b")


@dataclass(frozen=True, kw_only=True)
class Recast:
    """A passage and its main character; ``subject`` is a bare noun or a name."""

    text: str
    subject: str | None
    named: bool = False


def main_character(text: str) -> str | None:
    """The animal or person named most often, if at least twice."""
    counts = Counter(_SINGULAR[w] for w in map(str.lower, _WORD.findall(text)) if w in _SINGULAR)
    if not counts:
        return None
    noun, count = counts.most_common(1)[0]
    return noun if count >= 2 else None


def main_name(text: str) -> str | None:
    """The proper name used most often in mid-sentence, if at least twice."""
    counts = Counter(_MID_SENTENCE_NAME.findall(text))
    if not counts:
        return None
    name, count = counts.most_common(1)[0]
    return name if count >= 2 else None


def replace_noun(text: str, old: str, new: str) -> str:
    """Replace a noun in both numbers and either case, and mend the articles before it."""
    forms = {old: new, plural(old): plural(new)}
    pattern = re.compile(rf"\b({'|'.join(sorted(map(re.escape, forms), key=len, reverse=True))})\b", re.I)

    def swap(match: re.Match[str]) -> str:
        found = match.group(1)
        replacement = forms[found.lower()]
        return replacement.capitalize() if found[0].isupper() else replacement

    swapped = pattern.sub(swap, text)
    return re.sub(
        rf"\b([Aa])n? (?={re.escape(new)}\b)",
        lambda m: m.group(1) + ("n " if new[0] in "aeio" else " "),
        swapped,
        flags=re.I,
    )


def recast_english(text: str, rng: random.Random, *, chance: float) -> Recast:
    """Find the main character; with probability ``chance`` make it somebody else."""
    noun, name = main_character(text), main_name(text)
    if noun and (name is None or rng.random() < 0.7):
        if rng.random() >= chance:
            return Recast(text=text, subject=noun)
        kind = ANIMALS if noun in ANIMALS or rng.random() < 0.6 else PEOPLE
        other = rng.choice(kind)
        if re.search(rf"\b{other}\b", text, re.I):
            return Recast(text=text, subject=noun)
        return Recast(text=replace_noun(text, noun, other), subject=other)
    if name:
        other = rng.choice(NAMES)
        if rng.random() >= chance or re.search(rf"\b{other}\b", text):
            return Recast(text=text, subject=name, named=True)
        return Recast(text=re.sub(rf"\b{name}\b", other, text), subject=other, named=True)
    return Recast(text=text, subject=None)


def recast_telugu(text: str, rng: random.Random, *, chance: float) -> Recast:
    """Recast a Telugu passage: an animal becomes another that takes the same case endings."""
    counts = {word: text.count(word) for kind in TELUGU_KINDS for word in kind if word in text}
    if not counts or max(counts.values()) < 2:
        return Recast(text=text, subject=None)
    noun = max(counts, key=lambda word: counts[word])
    if rng.random() >= chance:
        return Recast(text=text, subject=noun)
    kind = next(kind for kind in TELUGU_KINDS if noun in kind)
    other = rng.choice(kind)
    if other in text:
        return Recast(text=text, subject=noun)
    return Recast(text=text.replace(noun, other), subject=other)


def describe(recast: Recast, rng: random.Random) -> tuple[str, str]:
    """Add an adjective to the first mention; returns the text and the subject with its adjective."""
    subject = recast.subject
    if subject is None or recast.named:
        return recast.text, subject or ""
    adjective = rng.choice(ADJECTIVES)
    mention = re.compile(rf"\b([Aa]n?|[Tt]he) {re.escape(subject)}\b")
    found = mention.search(recast.text)
    if found is None:
        return recast.text, subject
    determiner = found.group(1)
    if determiner.lower() != "the":
        article = with_article(adjective)
        phrase = article.capitalize() if determiner[0] == "A" else article
    else:
        phrase = f"{determiner} {adjective}"
    text = f"{recast.text[: found.start()]}{phrase} {subject}{recast.text[found.end() :]}"
    return text, f"{adjective} {subject}"


def opening_english(phrase: str, rng: random.Random, *, named: bool) -> str:
    """A first sentence that introduces ``phrase``, in words of this project's own."""
    place, thing = rng.choice(PLACES), rng.choice(THINGS)
    who = phrase if named else with_article(phrase)
    return rng.choice(
        (
            f"Once upon a time there was {who}.",
            f"Once there was {who} who lived near a {place}.",
            f"There was once {who} in a small {place}.",
            f"Long ago, in a far {place}, lived {who}.",
            f"In a {place} there lived {who}.",
            f"One day {who} came to the {place}.",
            f"This is the story of {who}.",
            f"Have you heard about {who}? Listen.",
            f"{who[0].upper()}{who[1:]} lived beside the {place}.",
            f"One morning {who} found {with_article(thing)}.",
            f"Once upon a time, {who} had {with_article(thing)}.",
        )
    )


def opening_telugu(phrase: str, rng: random.Random) -> str:
    """Return a first sentence in Telugu that introduces ``phrase``."""
    place = rng.choice(TELUGU_PLACES)
    return rng.choice(
        (
            f"అనగనగా ఒక {phrase} ఉండేది.",
            f"ఒకప్పుడు {place} ఒక {phrase} ఉండేది.",
            f"{place} ఒక {phrase} ఉంది.",
            f"ఒక రోజు ఒక {phrase} {place} కనిపించింది.",
            f"ఇది ఒక {phrase} కథ.",
        )
    )


def telugu_phrase(subject: str, rng: random.Random) -> str:
    """The subject, usually with an adjective before it."""
    return f"{rng.choice(TELUGU_ADJECTIVES)} {subject}" if rng.random() < 0.7 else subject


def subject_for(language: Language, rng: random.Random) -> str:
    """Any animal of the language; for passages without a character of their own."""
    return rng.choice(ANIMALS if language == "en" else rng.choice(TELUGU_KINDS))

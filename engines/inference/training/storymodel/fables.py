"""Tiny fables made of this project's own sentences, each full of the words of its request.

The public stories are too few to teach a small model, in an hour on a CPU, that an answer is about
what was asked. Here every sentence says so: who was asked for occurs in nearly all of them, and so
do the thing and the companion that a request may name. They are exercises, and read like it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from engines.inference.training.storymodel.recast import opening_english, opening_telugu
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


@dataclass(frozen=True, kw_only=True)
class Fable:
    """A short text, its subject, and the words that a request for it may use."""

    sentences: tuple[str, ...]
    subject: str
    """The subject as a request names it, with its article: "a clever crow"."""
    words: tuple[str, ...]


ENGLISH_STEPS: tuple[tuple[str, ...], ...] = (
    (
        "{who} wanted to have {a_thing}.",
        "Every day {who} looked for {a_thing}.",
        "{who} had no friends at all.",
        "Everybody in the {place} knew {who}.",
        "Everybody said that {who} was very {adjective}.",
        "{who} liked to sit near the {thing} and sing.",
        "In the morning {who} was hungry.",
        "{who} lived all alone with {a_thing}.",
    ),
    (
        "One day {who} met {a_friend}.",
        "One day {a_friend} came to the {place} and called {who}.",
        "Then {who} saw {a_thing} under a tree.",
        "On the way {who} found {a_thing}.",
        "One night {who} heard a noise. It was {a_friend}.",
        "Then {a_friend} took the {thing} away from {who}.",
        "{who} went to the {place} to find the {friend}.",
    ),
    (
        '"Where are you going?" the {friend} asked {who}.',
        '"Will you help me?" said {who} to the {friend}.',
        '"That {thing} is mine," said the {friend}.',
        '"Come with me," said the {friend} to {who}.',
        '"I am not afraid," said {who}.',
        '"What a fine {thing}!" said {who}.',
        '"Why are you so {adjective}?" asked the {friend}.',
        '"Please give me the {thing}," said {who}.',
    ),
    (
        "But the {thing} fell into the river.",
        "Suddenly it began to rain, and {who} ran home.",
        "The {friend} was angry and ran after {who}.",
        "Soon {who} and the {friend} were lost in the {place}.",
        "But the {thing} was too heavy for {who}.",
        "{who} began to cry.",
        "The {friend} laughed at {who}.",
        "Nobody could find the {thing}.",
    ),
    (
        "{who} thought and thought.",
        "But {who} had an idea.",
        "So {who} asked the {friend} for help.",
        "{who} took the {thing} and gave it to the {friend}.",
        "Then {who} pulled and pulled, and the {friend} pulled too.",
        "{who} climbed up to look for the {thing}.",
        "At last {who} found the {thing}.",
    ),
    (
        "After that {who} and the {friend} were good friends.",
        "{who} went home and was happy.",
        "And {who} never forgot the {friend}.",
        "From that day on, everybody loved {who}.",
        "That is how {who} got {a_thing}.",
        "And that is the end of the story of {who}.",
        "The {friend} thanked {who} and went away.",
        "How {adjective} {who} was!",
    ),
)
TELUGU_STEPS: tuple[tuple[str, ...], ...] = (
    (
        "{noun} రోజూ అడవిలో తిరిగేది.",
        "{adjective} {noun} అంటే అందరికీ ఇష్టం.",
        "{noun} ఒంటరిగా ఉండేది.",
        "ఆ రోజు {noun} చాలా ఆకలిగా ఉంది.",
    ),
    (
        "ఒక రోజు {noun} దారిలో ఒక {thing} చూసింది.",
        "అప్పుడు ఒక {friend} అక్కడికి వచ్చింది.",
        "ఒక రోజు {noun} ఇంటికి ఒక {friend} వచ్చింది.",
        "చెట్టు కింద ఒక {thing} కనిపించింది.",
    ),
    (
        '"నువ్వు ఎక్కడికి వెళ్తున్నావు?" అని {friend} అడిగింది.',
        '"నాకు సహాయం చేస్తావా?" అని {noun} అడిగింది.',
        '"ఈ {thing} నాది," అని {friend} అంది.',
        '"ఎంత మంచి {thing}!" అని {noun} అంది.',
    ),
    (
        "ఇంతలో పెద్ద వాన వచ్చింది.",
        "{noun} బాగా ఆలోచించింది.",
        "{adjective} {noun} ఒక ఉపాయం ఆలోచించింది.",
        "{friend} గట్టిగా నవ్వింది.",
    ),
    (
        "{noun}, {friend} కలిసి ఇంటికి వెళ్ళాయి.",
        "ఆ రోజు నుండి {noun}, {friend} మంచి స్నేహితులు.",
        "{noun} సంతోషంగా ఇంటికి వెళ్ళింది.",
        "ఇదే {adjective} {noun} కథ.",
    ),
)
TELUGU_THINGS = ("బంతి", "గాలిపటం", "మామిడి పండు", "గొడుగు", "అద్దం", "డప్పు", "పువ్వు", "పుస్తకం", "రొట్టె", "గంట")


def english_fable(rng: random.Random, *, shortest: int = 2) -> Fable:
    """Return a fable of an opening and some of the steps, in order."""
    named = rng.random() < 0.15
    noun = rng.choice(NAMES) if named else rng.choice(ANIMALS + PEOPLE)
    adjective = rng.choice(ADJECTIVES)
    friend = rng.choice(ANIMALS + PEOPLE)
    thing = rng.choice(THINGS)
    described = not named and rng.random() < 0.75
    phrase = f"{adjective} {noun}" if described else noun
    slots = {
        "adjective": adjective,
        "friend": friend,
        "a_friend": with_article(friend),
        "thing": thing,
        "a_thing": with_article(thing),
        "place": rng.choice(PLACES),
    }
    sentences = [opening_english(phrase, rng, named=named)]
    for step in sorted(rng.sample(range(len(ENGLISH_STEPS)), rng.randint(shortest, len(ENGLISH_STEPS)))):
        who = noun if named else f"the {phrase if described and rng.random() < 0.25 else noun}"
        sentence = rng.choice(ENGLISH_STEPS[step]).format(who=who, **slots)
        sentences.append(sentence[0].upper() + sentence[1:])
    said = " ".join(sentences)
    words = [word for word in (noun, thing, friend, slots["place"]) if word in said]
    return Fable(sentences=tuple(sentences), subject=noun if named else with_article(phrase), words=tuple(words))


def telugu_fable(rng: random.Random) -> Fable:
    """Return a fable in Telugu; nouns stay in the nominative, whose form is known."""
    every = [noun for kind in TELUGU_KINDS for noun in kind]
    noun, friend = rng.sample(every, 2)
    thing, adjective = rng.choice(TELUGU_THINGS), rng.choice(TELUGU_ADJECTIVES)
    phrase = f"{adjective} {noun}" if rng.random() < 0.75 else noun
    sentences = [opening_telugu(phrase, rng)]
    slots = {"noun": noun, "friend": friend, "thing": thing, "adjective": adjective}
    steps = sorted(rng.sample(range(len(TELUGU_STEPS)), rng.randint(2, len(TELUGU_STEPS))))
    sentences += [rng.choice(TELUGU_STEPS[step]).format(**slots) for step in steps]
    said = " ".join(sentences)
    words = tuple(word for word in (noun, thing, friend) if word in said)
    return Fable(sentences=tuple(sentences), subject=phrase, words=words)

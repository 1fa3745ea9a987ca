"""Conversion of a passage into a conversation, in which somebody asks for it, in many ways, and gets it.

The templates are this project's own words. Key words come from the passage itself, so that the
answer is always *about* the request. This module knows nothing about tokens.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from engines.inference.training.storymodel.conversation import Turn
from engines.inference.training.storymodel.vocabulary import THINGS, with_article

ABOUT_EN = (
    "Tell me a story about {subject}", "Tell a story about {subject}", "Write a story about {subject}",
    "Write a short story about {subject}", "Can you tell me a story about {subject}",
    "Please tell me about {subject}", "I want a story about {subject}", "A story about {subject}, please",
    "Write a little tale about {subject}", "Tell me a bedtime story about {subject}",
    "Give me a story with {subject} in it", "Write something about {subject}",
    "Make up a story about {subject}", "Do you know a story about {subject}?",
    "Write a children's story about {subject}", "Story: {subject}", "Write about {subject}",
    "Once upon a time there was {subject}. What happened?", "Describe {subject} in a story",
    "Write the next part of a book about {subject}", "Write a script about {subject}",
    "Continue a story in which there is {subject}", "Write one paragraph about {subject}",
)  # fmt: skip
WORDS_EN = (
    "Write a story with these words: {words}", "Use these words in a story: {words}", "{words}",
    "Keywords: {words}", "Write a passage that uses {words}", "Write a paragraph. Words: {words}",
)  # fmt: skip
TITLE_EN = (
    'Write a story called "{title}"', 'Tell me the story "{title}"', "Title: {title}", "{title}",
    "Write the story: {title}",
)  # fmt: skip
SENTENCES_EN = (
    "Write {count} sentences about {subject}", "Tell me about {subject} in {count} sentences",
    "In {count} sentences, tell a story about {subject}",
)  # fmt: skip
CONTINUE_EN = ("Go on", "Continue", "What happened next?", "And then?", "Tell me more", "Continue the story")
ABOUT_TE = (
    "ఒక {subject} గురించి కథ చెప్పు", "{subject} గురించి ఒక కథ చెప్పు", "{subject} గురించి కథ రాయండి",
    "{subject} కథ చెప్పండి", "నాకు {subject} గురించి ఒక కథ కావాలి", "ఒక {subject} కథ",
    "పిల్లల కోసం {subject} గురించి కథ రాయి", "{subject} గురించి చెప్పు", "{subject} గురించి తెలుగులో కథ రాయి",
    "Tell me a story in Telugu about {subject}",
)  # fmt: skip
WORDS_TE = ("ఈ పదాలతో కథ రాయండి: {words}", "{words}", "ఈ మాటలు వాడి ఒక కథ చెప్పు: {words}")
TITLE_TE = ("{title}", "{title} కథ చెప్పు", "శీర్షిక: {title}")
CONTINUE_TE = ("తరువాత ఏమైంది?", "ఇంకా చెప్పు", "కొనసాగించు")
SYSTEM = (
    "You are a helpful assistant.", "You are a storyteller.", "You tell stories to children.",
    "You write short stories.", "You are a friendly story teller who writes simple English.",
    "Answer with a story.", "మీరు కథలు చెప్పే సహాయకులు.",
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")

_WORD = re.compile(r"[a-z]{3,}")
_TELUGU_WORD = re.compile(r"[\u0c00-\u0c7f]{4,}")
_NOUN_USE = re.compile(
    r"\b(?:an?|the|his|her|their|its|my|your|our|this|that|every|each|some|no) ([a-z]{3,})"
    r"(?=[,.;:!?]| (?:of|was|is|had|and|in|to|with|that|who|which|at|on|for|from|were|has|said)\b)"
)


def learn_nouns(texts: Iterable[str], *, share: float = 0.12, least: int = 20) -> dict[str, float]:
    """Return words in the places of nouns, each with its rarity in nats (larger is rarer)."""
    uses: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for text in texts:
        uses.update(_NOUN_USE.findall(text))
        words.update(_WORD.findall(text))
    total = sum(words.values())
    return {
        word: -math.log(words[word] / total)
        for word, count in uses.items()
        if words[word] >= least and count >= share * words[word]
    }


def key_words(text: str, rarity: Mapping[str, float], *, count: int) -> list[str]:
    """The nouns that are most typical of a passage, most typical first."""
    found = Counter(w for w in _WORD.findall(text) if w in rarity)
    ranked = sorted(found, key=lambda w: (found[w] ** 0.5) * (rarity[w] - 5.0), reverse=True)
    return ranked[:count]


def key_words_telugu(text: str, common: frozenset[str], *, count: int) -> list[str]:
    """The Telugu words of a passage used most often, leaving out the language's commonest."""
    found = Counter(w for w in _TELUGU_WORD.findall(text) if w not in common)
    return [word for word, _ in found.most_common(count)]


def join_words(words: Sequence[str], *, last: str) -> str:
    """``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def punctuate(prompt: str, rng: random.Random) -> str:
    """Return the request as people write it: with or without a full stop, sometimes in lower case."""
    if prompt[-1].isalpha() and rng.random() < 0.5:
        prompt += "."
    return prompt[0].lower() + prompt[1:] if rng.random() < 0.1 else prompt


def ask_english(rng: random.Random, *, subject: str, words: Sequence[str], title: str | None, sentences: int) -> str:
    """Return a request in English; ``subject`` already has its article, or is empty."""
    choice = rng.random()
    if title and choice < 0.12:
        return punctuate(rng.choice(TITLE_EN).format(title=title), rng)
    if words and (not subject or choice < 0.3):
        return punctuate(rng.choice(WORDS_EN).format(words=", ".join(words)), rng)
    extra = [with_article(w) if w in THINGS else f"the {w}" for w in words if w not in subject]
    if subject and extra and rng.random() < 0.4:
        subject = join_words([subject, *extra[: rng.randint(1, 2)]], last="and")
    subject = subject or "something"
    if sentences < len(NUMBERS):
        count = NUMBERS[sentences] if rng.random() < 0.6 else str(sentences)
        return punctuate(rng.choice(SENTENCES_EN).format(count=count, subject=subject), rng)
    return punctuate(rng.choice(ABOUT_EN).format(subject=subject), rng)


def ask_telugu(rng: random.Random, *, subject: str, words: Sequence[str], title: str | None) -> str:
    """Return a request in Telugu."""
    choice = rng.random()
    if title and choice < 0.15:
        return punctuate(rng.choice(TITLE_TE).format(title=title), rng)
    if subject and choice < 0.8:
        return punctuate(rng.choice(ABOUT_TE).format(subject=subject), rng)
    if words:
        return punctuate(rng.choice(WORDS_TE).format(words=", ".join(words)), rng)
    return "ఒక కథ చెప్పు"


def converse(rng: random.Random, *, request: str, answer: str, continuations: Sequence[str]) -> list[Turn]:
    """Return the request and its answer, sometimes with a system message, sometimes in two steps."""
    turns = [Turn(role="system", content=rng.choice(SYSTEM))] if rng.random() < 0.25 else []
    turns.append(Turn(role="user", content=request))
    paragraphs = answer.split("\n")
    if len(paragraphs) >= 4 and rng.random() < 0.12:
        half = len(paragraphs) // 2
        turns.append(Turn(role="assistant", content="\n".join(paragraphs[:half])))
        turns.append(Turn(role="user", content=rng.choice(continuations)))
        turns.append(Turn(role="assistant", content="\n".join(paragraphs[half:])))
    else:
        turns.append(Turn(role="assistant", content=answer))
    return turns

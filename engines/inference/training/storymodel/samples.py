"""Drawing of training documents from the corpus, packed into rows of equal length.

Every draw depends only on the random generator that is passed in, so a resumed run continues where
it stopped. Progress (0..1) decides the mixture: first language, then the habit of looking at the
prompt.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tokenizers import Tokenizer

from engines.inference.training.storymodel import prompts
from engines.inference.training.storymodel.corpus import STORYLIKE_NOVELS, Corpus, Document
from engines.inference.training.storymodel.echo import echo
from engines.inference.training.storymodel.fables import Fable, english_fable, telugu_fable
from engines.inference.training.storymodel.recast import (
    Recast,
    describe,
    opening_english,
    opening_telugu,
    recast_english,
    recast_telugu,
    telugu_phrase,
)
from engines.inference.training.storymodel.smalltalk import small_talk
from engines.inference.training.storymodel.tokenizer import encode_chat, encode_document
from engines.inference.training.storymodel.vocabulary import with_article

Sample = tuple[list[int], list[bool]]
"""Token ids of one document, and a flag for each that is to be learnt."""

# The relative shares of the kinds among the drawn documents, each from a progress on.
STAGES: tuple[tuple[float, Mapping[str, float]], ...] = (
    (0.0, {"novel_plain": 8, "novel_asked": 48, "story_en": 24, "story_te": 13, "classic_te": 4, "small_talk": 3}),
    (
        0.39,
        {
            "novel_plain": 4, "novel_asked": 27, "story_en": 21, "story_te": 10, "classic_te": 2, "small_talk": 7,
            "fable_en": 21, "fable_te": 8,
        },
    ),
    (
        0.58,
        {
            "novel_plain": 1, "novel_asked": 4, "story_en": 10, "story_te": 5, "classic_te": 1, "small_talk": 8,
            "fable_en": 43, "fable_te": 14, "echo": 14,
        },
    ),
)  # fmt: skip
MAX_PASSAGE_LENGTH = 1500
"""Characters of an English passage; a row of 512 tokens holds about this much."""
MAX_TELUGU_PASSAGE_LENGTH = 1100

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"']? +(?=[A-Z\"'])")


def span(paragraphs: Sequence[str], rng: random.Random, *, longest: int) -> str:
    """Consecutive paragraphs from a random place, ``longest`` characters at most if there is a break."""
    if sum(map(len, paragraphs)) + len(paragraphs) <= longest:
        return "\n".join(paragraphs)
    start = rng.randrange(len(paragraphs))
    taken: list[str] = []
    room = longest
    for paragraph in paragraphs[start:]:
        if len(paragraph) > room:
            if not taken:
                taken.append(shorten(paragraph, longest=longest))
            break
        taken.append(paragraph)
        room -= len(paragraph) + 1
    return "\n".join(taken)


def shorten(paragraph: str, *, longest: int) -> str:
    """The first whole sentences of a paragraph that fit."""
    if len(paragraph) <= longest:
        return paragraph
    cut = max(paragraph.rfind(mark, 0, longest) for mark in ".!?।")
    return paragraph[: cut + 1] if cut > 0 else paragraph[:longest].rsplit(" ", 1)[0]


class SampleMaker:
    """The source of documents and rows of one corpus and one tokenizer."""

    def __init__(self, *, corpus: Corpus, tokenizer: Tokenizer) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        sizes = [len(novel.text) for novel in corpus.novels]
        storylike = [
            size * (6 if any(mark in novel.source for mark in STORYLIKE_NOVELS) else 1)
            for size, novel in zip(sizes, corpus.novels, strict=True)
        ]
        self._novel_weights = (list(accumulate(sizes)), list(accumulate(storylike)))
        self._rarity = prompts.learn_nouns(
            [novel.text for novel in corpus.novels[::4]] + [story.text for story in corpus.stories_en]
        )
        counts = Counter(word for story in corpus.stories_te for word in story.text.split())
        self._common_telugu = frozenset(word for word, _ in counts.most_common(150))

    def document(self, rng: random.Random, *, progress: float) -> Sample:
        """One document, of a kind drawn by the stage's shares."""
        shares = next(shares for start, shares in reversed(STAGES) if progress >= start)
        kind = rng.choices(list(shares), list(shares.values()))[0]
        if kind == "small_talk":
            return encode_chat(self._tokenizer, small_talk(rng))
        if kind == "echo":
            return encode_chat(self._tokenizer, echo(rng))
        if kind == "fable_en":
            return self._fable(english_fable(rng), rng)
        if kind == "fable_te":
            return self._fable_telugu(telugu_fable(rng), rng)
        if kind.startswith("novel"):
            novel = self._pick_novel(rng, progress)
            start = rng.randrange(len(novel.paragraphs))
            if kind == "novel_plain":
                text = span(novel.paragraphs[start : start + 30], rng, longest=2 * MAX_PASSAGE_LENGTH)
                return encode_document(self._tokenizer, text)
            longest = rng.randint(200, MAX_PASSAGE_LENGTH)
            return self._asked_english(novel.paragraphs[start : start + 30], None, rng, longest)
        if kind == "story_en":
            story = rng.choice(self._corpus.stories_en)
            return self._asked_english(story.paragraphs, story.title, rng, MAX_PASSAGE_LENGTH)
        if kind == "story_te":
            return self._asked_telugu(rng.choice(self._corpus.stories_te), rng)
        chapter = rng.choice(self._corpus.classics_te)
        sentences = re.split(r"(?<=[.!?]) +", chapter.text)
        start = rng.randrange(len(sentences))
        text = " ".join(sentences[start : start + 12])
        return encode_document(self._tokenizer, text[:MAX_TELUGU_PASSAGE_LENGTH])

    def row(self, rng: random.Random, *, length: int, progress: float) -> Sample:
        """``length`` tokens: whole documents one after another, the last one cut off."""
        ids: list[int] = []
        learnt: list[bool] = []
        while len(ids) < length:
            more_ids, more_learnt = self.document(rng, progress=progress)
            ids += more_ids
            learnt += more_learnt
        return ids[:length], learnt[:length]

    def _fable(self, fable: Fable, rng: random.Random) -> Sample:
        count = len(fable.sentences)
        request = prompts.ask_english(
            rng,
            subject=fable.subject,
            words=rng.sample(fable.words, len(fable.words)),
            title=None,
            sentences=count if rng.random() < 0.2 else len(prompts.NUMBERS),
        )
        answer = rng.choice((" ", "\n")).join(fable.sentences)
        turns = prompts.converse(rng, request=request, answer=answer, continuations=prompts.CONTINUE_EN)
        return encode_chat(self._tokenizer, turns)

    def _fable_telugu(self, fable: Fable, rng: random.Random) -> Sample:
        request = prompts.ask_telugu(rng, subject=fable.subject, words=fable.words, title=None)
        answer = rng.choice((" ", "\n")).join(fable.sentences)
        turns = prompts.converse(rng, request=request, answer=answer, continuations=prompts.CONTINUE_TE)
        return encode_chat(self._tokenizer, turns)

    def _pick_novel(self, rng: random.Random, progress: float) -> Document:
        weights = self._novel_weights[rng.random() < progress]
        return rng.choices(self._corpus.novels, cum_weights=weights)[0]

    def _asked_english(self, paragraphs: Sequence[str], title: str | None, rng: random.Random, longest: int) -> Sample:
        whole = span(paragraphs, rng, longest=longest)
        sentences = len(prompts.NUMBERS)
        if rng.random() < 0.08:
            sentences = rng.randint(1, 5)
            whole = " ".join(_SENTENCE_END.split(whole.replace("\n", " "))[:sentences])
        cast = recast_english(whole, rng, chance=0.6)
        changed = cast.text != whole
        text, phrase = cast.text, cast.subject or ""
        if rng.random() < 0.5:
            text, phrase = describe(cast, rng)
        subject = with_article(phrase) if phrase and not cast.named else phrase
        introduced = rng.random() < (0.7 if title is not None else 0.3)
        if phrase and introduced and sentences == len(prompts.NUMBERS):
            text = f"{opening_english(phrase, rng, named=cast.named)}\n{text}"
        request = prompts.ask_english(
            rng,
            subject=subject,
            words=prompts.key_words(text, self._rarity, count=rng.randint(2, 5)),
            title=None if changed else title,
            sentences=sentences,
        )
        turns = prompts.converse(rng, request=request, answer=text, continuations=prompts.CONTINUE_EN)
        return encode_chat(self._tokenizer, turns)

    def _asked_telugu(self, story: Document, rng: random.Random) -> Sample:
        whole = span(story.paragraphs, rng, longest=MAX_TELUGU_PASSAGE_LENGTH)
        cast: Recast = recast_telugu(whole, rng, chance=0.6)
        text, phrase = cast.text, ""
        words = prompts.key_words_telugu(text, self._common_telugu, count=rng.randint(1, 4))
        if cast.subject:
            phrase = telugu_phrase(cast.subject, rng)
            if rng.random() < 0.5 or phrase != cast.subject:
                text = f"{opening_telugu(phrase, rng)}\n{text}"
        elif words:
            phrase = words[0]
        request = prompts.ask_telugu(
            rng, subject=phrase, words=words, title=None if cast.text != whole else story.title
        )
        turns = prompts.converse(rng, request=request, answer=text, continuations=prompts.CONTINUE_TE)
        return encode_chat(self._tokenizer, turns)

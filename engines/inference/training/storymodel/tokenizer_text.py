"""The texts that the tokenizer learns from: mostly stories, a slice of the novels, both languages."""

from __future__ import annotations

from collections.abc import Iterator

from engines.inference.training.storymodel import prompts
from engines.inference.training.storymodel.corpus import Corpus

NOVEL_STRIDE = 60
"""One novel paragraph in this many; about as much text as the English stories twice over."""
STORY_REPEATS = 2


def tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    """Return texts whose pair counts represent the texts that the model will read and write."""
    for novel in corpus.novels:
        yield from novel.paragraphs[::NOVEL_STRIDE]
    for _ in range(STORY_REPEATS):
        for story in corpus.stories_en + corpus.stories_te:
            yield story.text
    templates = prompts.ABOUT_EN + prompts.WORDS_EN + prompts.SENTENCES_EN + prompts.CONTINUE_EN
    for _ in range(50):
        yield from templates + prompts.ABOUT_TE + prompts.WORDS_TE + prompts.SYSTEM
        yield "system\nuser\nassistant\n"

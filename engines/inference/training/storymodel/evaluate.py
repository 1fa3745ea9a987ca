"""Bits per byte on the held-out stories, by language, alone and behind a prompt.

Bytes, not tokens, so that models with other tokenizers can be compared. Every byte of a story is
counted once; a story longer than the context is scored in windows that begin afresh.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from tokenizers import Tokenizer

from engines.inference.training.storymodel.conversation import Turn
from engines.inference.training.storymodel.corpus import Corpus, Document, Language
from engines.inference.training.storymodel.model import StoryModel
from engines.inference.training.storymodel.tokenizer import DOCUMENT_ID, TURN_END_ID, encode_chat

PROMPTS: dict[Language, str] = {"en": 'Write a story called "{title}"', "te": "{title} కథ చెప్పు"}


def story_windows(
    tokenizer: Tokenizer, story: Document, *, context: int, prompted: bool
) -> Iterator[tuple[list[int], int]]:
    """Token ids of each window and how many of them, at the front, are not scored."""
    if prompted:
        request = Turn(role="user", content=PROMPTS[story.language].format(title=story.title))
        prefix, _ = encode_chat(tokenizer, [request])
        header, _ = encode_chat(tokenizer, [Turn(role="assistant", content="")])
        prefix += header[1 : header.index(TURN_END_ID)]
    else:
        prefix = [DOCUMENT_ID]
    ids = tokenizer.encode(story.text).ids
    room = context - len(prefix)
    for start in range(0, len(ids), room):
        yield prefix + ids[start : start + room], len(prefix)


@torch.inference_mode()
def bits_per_byte(model: StoryModel, tokenizer: Tokenizer, stories: list[Document], *, prompted: bool) -> float:
    """Mean over all bytes of the stories' text."""
    bits = 0.0
    size = 0
    for story in stories:
        size += len(story.text.encode())
        windows = story_windows(tokenizer, story, context=model.shape.context, prompted=prompted)
        for ids, unscored in windows:
            tokens = torch.tensor([ids])
            losses = model.token_losses(tokens[:, :-1], tokens[:, 1:])
            bits += float(losses[unscored - 1 :].sum()) / math.log(2)
    return bits / size


def report(model: StoryModel, tokenizer: Tokenizer, corpus: Corpus) -> Iterator[str]:
    """One line for each language and way of scoring."""
    for language in ("en", "te"):
        stories = [story for story in corpus.held_out if story.language == language]
        for prompted in (False, True):
            value = bits_per_byte(model, tokenizer, stories, prompted=prompted)
            way = "behind a prompt with the title" if prompted else "alone"
            yield f"{language}, {way}: {value:.3f} bits per byte on {len(stories)} held-out stories"

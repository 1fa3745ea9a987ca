"""The byte-level BPE: special tokens, the way words are split, and the chat format.

The split pattern is the one that llama.cpp calls ``qwen35``: unlike GPT-2's it keeps vowel signs
with their letters, without which every Telugu word falls into pieces. The exporter writes the same
name into the GGUF file, so both sides must agree token for token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from engines.inference.training.storymodel.conversation import Turn

DOCUMENT_TOKEN = "<|endoftext|>"
TURN_START_TOKEN = "<|im_start|>"
TURN_END_TOKEN = "<|im_end|>"
SPECIAL_TOKENS = (DOCUMENT_TOKEN, TURN_START_TOKEN, TURN_END_TOKEN)
DOCUMENT_ID, TURN_START_ID, TURN_END_ID = range(3)

PRE_TOKENIZER = "qwen35"
SPLIT_PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Tokenizer:
    """Learn a byte-level BPE with ``vocabulary`` entries, special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that an earlier run saved."""
    return Tokenizer.from_file(str(path))


def encode_document(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool]]:
    """Ids of a plain text with its start token, and which of them are to be learnt (all)."""
    ids = [DOCUMENT_ID, *tokenizer.encode(text).ids]
    return ids, [True] * len(ids)


def encode_chat(tokenizer: Tokenizer, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
    """Ids of a conversation as the chat template writes it, and which of them are to be learnt.

    Only what the assistant says, and the end of its turn, is learnt.
    """
    ids: list[int] = [DOCUMENT_ID]
    learnt: list[bool] = [False]
    newline = tokenizer.encode("\n").ids
    for turn in turns:
        header = [TURN_START_ID, *tokenizer.encode(f"{turn.role}\n").ids]
        body = [*tokenizer.encode(turn.content).ids, TURN_END_ID]
        speaks = turn.role == "assistant"
        ids += [*header, *body, *newline]
        learnt += [False] * len(header) + [speaks] * len(body) + [False] * len(newline)
    return ids, learnt

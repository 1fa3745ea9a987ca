"""The log probabilities of a completion: parallel lists over its tokens, of which an echoed prompt's come first."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai.text._output import logprob


class CompletionLogprobs:
    """The four lists of one choice. Offsets count characters from the start of the choice's text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0
        self._clear()

    def _clear(self) -> None:
        self._offsets: list[int] = []
        self._logprobs: list[float | None] = []
        self._tokens: list[str] = []
        self._top: list[dict[str, float] | None] = []

    def add(self, entries: Iterable[generation_pb2.TokenLogprob]) -> None:
        """Add the next tokens."""
        for entry in entries:
            # A token that ends within a character has the offset of that character.
            self._offsets.append(self._offset)
            self._offset += len(self._decoder.decode(entry.bytes))
            self._tokens.append(_shown(entry))
            self._logprobs.append(None if entry.unscored else logprob(entry.logprob))
            self._top.append(None if entry.unscored else _alternatives(entry))

    def taken(self) -> dict[str, Any]:
        """Return the lists of the tokens added since the last time."""
        lists = {
            "text_offset": self._offsets,
            "token_logprobs": self._logprobs,
            "tokens": self._tokens,
            "top_logprobs": self._top,
        }
        self._clear()
        return lists


def _alternatives(entry: generation_pb2.TokenLogprob) -> dict[str, float]:
    """Return the likeliest tokens, and the chosen one beside them if it is none of them."""
    best: dict[str, float] = {}
    for top in [*entry.top, entry] if entry.top else []:
        # Control tokens have no text; the likeliest of them stands for all.
        best.setdefault(_shown(top), logprob(top.logprob))
    return best


def _shown(entry: generation_pb2.TokenLogprob) -> str:
    """Return a token's text; as OpenAI writes it, `bytes:\\xe0`, where that is not whole characters."""
    try:
        entry.bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in entry.bytes)
    return entry.token

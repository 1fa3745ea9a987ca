"""Ends a choice where one of its stop texts appears.

Why not the runtime's own stop texts: llama.cpp, when it streams, drops what it held back in case a stop text was
beginning if the answer then ends for another reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from enginehouse.api.inference.v1.generation_pb2 import TokenLogprob
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece


class StopScanner:
    """Watches the text of one choice.

    Args:
        stops: the texts that end it, none empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._logprobs: deque[TokenLogprob] = deque()
        self.stopped = False
        """Whether a stop text has appeared; nothing may be read after it."""

    def read(self, piece: OutputPiece) -> OutputPiece:
        """The piece with the text that is certain not to belong to a stop text; the rest waits for the next."""
        text = self._held + piece.text
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            out, self._held = text[: min(found)], ""
        elif piece.finish is not None:
            out, self._held = text, ""
        else:
            keep = max(overlap(text, stop) for stop in self._stops)
            out, self._held = text[: len(text) - keep], text[len(text) - keep :]
        finish = FinishReason.STOP if self.stopped else piece.finish
        return replace(piece, text=out, finish=finish, logprobs=self._certain(piece.logprobs, len(out)))

    def _certain(self, logprobs: Sequence[TokenLogprob], size: int) -> Sequence[TokenLogprob]:
        """The log probabilities of tokens that lie wholly in the next `size` characters."""
        if not logprobs and not self._logprobs:
            return ()
        self._logprobs.extend(logprobs)
        certain = []
        while self._logprobs and len(self._logprobs[0].token) <= size:
            size -= len(self._logprobs[0].token)
            certain.append(self._logprobs.popleft())
        return certain


def overlap(text: str, stop: str) -> int:
    """The number of characters at the text's end may begin the stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)

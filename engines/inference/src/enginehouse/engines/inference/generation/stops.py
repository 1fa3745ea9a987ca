"""Stop texts: ending a choice where one of them appears.

llama.cpp's own stop texts are not used: when it streams, it holds back the beginning of a possible stop text, and drops
that text if the answer then ends for another reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from enginehouse.api.inference.v1.generation_pb2 import TokenLogprob
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece


class StopScanner:
    """A search for stop texts in the text of one choice.

    Args:
        stops: the texts that end the choice, none empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._logprobs: deque[TokenLogprob] = deque()
        self.stopped = False
        """True once a stop text has appeared; nothing may be read after it."""

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Return the piece with the text that cannot belong to a stop text; the rest waits for the next piece."""
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
        """Return the log probabilities of the tokens that lie wholly in the next `size` characters."""
        if not logprobs and not self._logprobs:
            return ()
        self._logprobs.extend(logprobs)
        certain = []
        while self._logprobs and len(self._logprobs[0].token) <= size:
            size -= len(self._logprobs[0].token)
            certain.append(self._logprobs.popleft())
        return certain


def overlap(text: str, stop: str) -> int:
    """Return how many characters at the text's end may begin the stop text."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)

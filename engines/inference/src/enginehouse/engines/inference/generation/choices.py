"""Conversion of the runtime's pieces into the contract's deltas, one for each choice of a message."""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import ChoiceDelta
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece
from enginehouse.engines.inference.generation.limits import OutputLimit

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer


class Choices:
    """The choices of one generation and the state of each.

    Args:
        count: the number of choices.
        limit: the bound on each, with the reason that a choice of full length was stopped by.
        echo: text that each choice begins with; empty for none.
    """

    def __init__(self, *, count: int, limit: OutputLimit, echo: str) -> None:
        self._limit = limit
        self._echo = echo
        self._begun: set[int] = set()
        self._open = set(range(count))
        self.cut_by_budget = False
        """True once the cap ended a choice."""

    @property
    def ended(self) -> bool:
        """True once every choice has its finish reason."""
        return not self._open

    def merge(self, pieces: Sequence[OutputPiece], deltas: RepeatedCompositeFieldContainer[ChoiceDelta]) -> None:
        """Add one delta for each choice of the pieces, which are in order."""
        if not pieces:
            return
        first = pieces[0].index
        if len(pieces) == 1 or all(piece.index == first for piece in pieces):
            self._add(first, pieces, deltas)
            return
        by_choice: dict[int, list[OutputPiece]] = {}
        for piece in pieces:
            by_choice.setdefault(piece.index, []).append(piece)
        for index, own in by_choice.items():
            self._add(index, own, deltas)

    def end_all(self, deltas: MutableSequence[ChoiceDelta]) -> None:
        """End every open choice because the budget is exhausted, in its delta among these or in one of its own."""
        self.cut_by_budget = True
        for delta in deltas:
            if delta.index in self._open:
                self._open.discard(delta.index)
                delta.finish_reason = generation_pb2.FINISH_REASON_LENGTH
                delta.stopped_by = generation_pb2.STOPPED_BY_BUDGET
        deltas.extend(
            ChoiceDelta(
                index=index,
                finish_reason=generation_pb2.FINISH_REASON_LENGTH,
                stopped_by=generation_pb2.STOPPED_BY_BUDGET,
            )
            for index in sorted(self._open)
        )
        self._open.clear()

    def _add(
        self, index: int, pieces: Sequence[OutputPiece], deltas: RepeatedCompositeFieldContainer[ChoiceDelta]
    ) -> None:
        last = pieces[-1]
        if len(pieces) == 1:
            text, tokens = last.text, last.tokens
        else:
            text, tokens = "".join([piece.text for piece in pieces]), sum([piece.tokens for piece in pieces])
        if self._echo and index not in self._begun:
            self._begun.add(index)
            text = self._echo + text
        delta = deltas.add(index=index, text=text, token_count=tokens)
        if last.finish is not None:
            self._finish(delta, last.finish)
        for piece in pieces:
            if piece.token_ids:
                delta.token_ids.extend(piece.token_ids)
            if piece.reasoning:
                delta.reasoning += piece.reasoning
            if piece.tool_calls:
                delta.tool_calls.extend(piece.tool_calls)
            if piece.logprobs:
                delta.logprobs.extend(piece.logprobs)

    def _finish(self, delta: ChoiceDelta, finish: FinishReason) -> None:
        self._open.discard(delta.index)
        if finish is FinishReason.STOP:
            delta.finish_reason = generation_pb2.FINISH_REASON_STOP
        elif finish is FinishReason.TOOL_CALLS:
            delta.finish_reason = generation_pb2.FINISH_REASON_TOOL_CALLS
        else:
            delta.finish_reason = generation_pb2.FINISH_REASON_LENGTH
            delta.stopped_by = (
                generation_pb2.STOPPED_BY_CONTEXT if finish is FinishReason.CONTEXT else self._limit.stopped_by
            )
            if delta.stopped_by == generation_pb2.STOPPED_BY_BUDGET:
                self.cut_by_budget = True

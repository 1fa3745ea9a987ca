"""Search for questions of the same meaning, among those whose requests are otherwise the same.

Two questions are compared only within a frame: the same conversation before them, the same sampling, format, tools,
model and tags, and the same tenant. Within a frame the question nearest in angle wins, if it is near enough and the
guard allows it. The search is one product of a small matrix with a vector.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from enginehouse.router.cache._guard import Traits, conflict

Vector = npt.NDArray[np.float32]

_INITIAL_ROWS = 8
# The number of nearest questions that are tried, in case the guard forbids the first.
_NEAREST = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question prepared for comparison: its vector of length 1, its traits and its frame."""

    frame: bytes
    vector: Vector
    traits: Traits


@dataclasses.dataclass(frozen=True, slots=True)
class SimilarQuestion:
    """A question that counts as the same: the key of its answer, and the cosine."""

    key: bytes
    cosine: float


class SemanticIndex:
    """The questions whose answers may be given to others.

    Args:
        max_entries: the most questions that are held. Beyond them the least recently used frame loses its oldest
            questions first.
    """

    def __init__(self, *, max_entries: int) -> None:
        self._max_entries = max_entries
        self._frames: OrderedDict[bytes, _Frame] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, question: Question, key: bytes) -> None:
        """Add a question whose answer is kept under `key`."""
        frame = self._frames.get(question.frame)
        if frame is None:
            frame = self._frames[question.frame] = _Frame(len(question.vector))
        self._frames.move_to_end(question.frame)
        self._count += frame.put(question, key)
        while self._count > self._max_entries:
            name, oldest = next(iter(self._frames.items()))
            oldest.drop_oldest()
            self._count -= 1
            if not len(oldest):
                del self._frames[name]

    def nearest(self, question: Question, *, threshold: float) -> SimilarQuestion | None:
        """Return the nearest question that counts as the same, at a cosine of at least `threshold`."""
        frame = self._frames.get(question.frame)
        if frame is None:
            return None
        self._frames.move_to_end(question.frame)
        return frame.nearest(question, threshold)

    def drop(self, frame: bytes, key: bytes) -> None:
        """Drop a question whose answer is gone."""
        found = self._frames.get(frame)
        if found is not None:
            self._count -= found.remove(key)
            if not len(found):
                del self._frames[frame]

    def clear(self) -> None:
        """Drop all questions."""
        self._frames.clear()
        self._count = 0


class _Frame:
    """The questions of one frame, oldest first."""

    def __init__(self, dimensions: int) -> None:
        self._matrix: Vector = np.empty((_INITIAL_ROWS, dimensions), dtype=np.float32)
        self._keys: list[bytes] = []
        self._traits: list[Traits] = []

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, question: Question, key: bytes) -> int:
        """Add a question, and return the change in their number."""
        before = len(self._keys)
        self.remove(key)
        if len(question.vector) != self._matrix.shape[1]:
            # Another model makes the vectors now.
            return len(self._keys) - before
        at = len(self._keys)
        if at == len(self._matrix):
            larger = np.empty((at * 2, self._matrix.shape[1]), dtype=np.float32)
            larger[:at] = self._matrix
            self._matrix = larger
        self._matrix[at] = question.vector
        self._keys.append(key)
        self._traits.append(question.traits)
        return len(self._keys) - before

    def nearest(self, question: Question, threshold: float) -> SimilarQuestion | None:
        count = len(self._keys)
        if not count or len(question.vector) != self._matrix.shape[1]:
            return None
        cosines = self._matrix[:count] @ question.vector
        # Take enough of the nearest to get past those that the guard forbids, without sorting all.
        some = min(count, _NEAREST)
        best = np.argpartition(cosines, count - some)[count - some :]
        for at in sorted(best.tolist(), key=lambda index: -float(cosines[index])):
            if cosines[at] < threshold:
                return None
            if not conflict(question.traits, self._traits[at]):
                return SimilarQuestion(self._keys[at], float(cosines[at]))
        return None

    def remove(self, key: bytes) -> int:
        try:
            at = self._keys.index(key)
        except ValueError:
            return 0
        self._delete(at)
        return 1

    def drop_oldest(self) -> None:
        self._delete(0)

    def _delete(self, at: int) -> None:
        count = len(self._keys)
        self._matrix[at : count - 1] = self._matrix[at + 1 : count]
        del self._keys[at]
        del self._traits[at]

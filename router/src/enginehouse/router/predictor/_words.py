"""What a prompt is about: fields of knowledge told by its words alone, from a table made in training.

Each word has an affinity to each field, distilled from a sentence encoder; a word not in the table is judged by its
beginning and its end. Words count by the square of how clearly they speak of one field, so that "the" says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Letters of a word's beginning and end by which an unknown word is judged, and what such a judgement weighs.
EDGE_LETTERS = 4
LEAST_LETTERS = 6
EDGE_WEIGHT = 0.5
# Words after which more of them make no surer.
_SURE = 6
_SHARPNESS = 16.0
# Different words that count, at most.
_MOST_WORDS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Topics:
    """The field that is spoken of most, with its probability, and the need over all fields.

    `field` is empty if no word is known.
    """

    field: str
    probability: float
    need: float


class WordTable:
    """Words by fields.

    Args:
        words: known words in lower case; "xxxx-" is a beginning and "-xxxx" an end, for words not known.
        affinities: int8 of shape (words, fields), in units of `scale`; all 0 for a word that says nothing.
        needs: of each field, 0 to 1.
    """

    def __init__(
        self,
        *,
        words: Sequence[str],
        affinities: NDArray[np.int8],
        scale: float,
        fields: Sequence[str],
        needs: NDArray[np.float32],
    ) -> None:
        rows = np.zeros((len(words) + 1, len(fields) + 1), np.float32)
        rows[1:, 1:] = affinities.astype(np.float32) * scale
        rows[:, 0] = np.square(rows[:, 1:].max(axis=1, initial=0.0))
        rows[:, 1:] *= rows[:, :1]
        edges = [index + 1 for index, word in enumerate(words) if "-" in word]
        rows[edges] *= EDGE_WEIGHT
        # Row 0 stands for words that say nothing; column 0 holds the words' weights.
        self._rows = rows
        self._index = {word.encode(): index if rows[index, 0] > 0 else 0 for index, word in enumerate(words, start=1)}
        self._ones = np.ones(_MOST_WORDS, np.float32)
        self._needs_and_ones = np.stack([needs, np.ones_like(needs)], axis=1)
        self.fields = tuple(fields)
        self._unknown = Topics("", 0.0, float(needs.mean()))

    def topics(self, words: Sequence[bytes]) -> Topics:
        """What words in lower case speak of, however often each; the mean of the fields if none is known."""
        index = self._index
        different = set(words)
        rows = list(map(index.get, different))
        known = set(rows)
        if None in known:
            for word, row in zip(different, rows, strict=True):
                if row is None and len(word) >= LEAST_LETTERS:
                    known.add(index.get(word[:EDGE_LETTERS] + b"-"))
                    known.add(index.get(b"-" + word[-EDGE_LETTERS:]))
        # In order, for sums of floating-point numbers depend on it, and a set's order on the process.
        found = sorted(filter(None, known))[:_MOST_WORDS]
        if not found:
            return self._unknown
        summed = self._ones[: len(found)] @ self._rows.take(found, axis=0)
        weight = float(summed[0])
        if weight <= 0:
            return self._unknown
        likely = np.exp(summed[1:] * np.float32(_SHARPNESS * min(len(found), _SURE) ** 0.5 / weight))
        need, total = (likely @ self._needs_and_ones).tolist()
        best = int(likely.argmax())
        return Topics(self.fields[best], float(likely[best]) / total, need / total)

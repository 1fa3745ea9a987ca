"""What a prompt is about: fields of knowledge told by its words alone, from a table made in training.

Each word has an affinity to each field, distilled from a sentence encoder; a word not in the table is judged by its
beginning and its end. Words count by the square of how clearly they speak of one field, so that "the" says nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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
_GROUP_BITS = 4
_GROUPS = (1 << _GROUP_BITS) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What words say.

    Attributes:
        counts: how many words are of each group, from 1 on; 0 are those of none.
        field: the field that is spoken of most; empty if no word is known.
        probability: of that field.
        need: over all fields.
    """

    counts: list[int]
    field: str
    probability: float
    need: float


class WordTable:
    """Words by fields.

    Args:
        words: known words in lower case; "xxxx-" is a beginning and "-xxxx" an end, for words not known.
        affinities: int8 of shape (words, fields), in units of `scale`; all 0 for a word that says nothing.
        needs: of each field, 0 to 1.
        groups: words to be counted together, by name; at most 15.
    """

    def __init__(
        self,
        *,
        words: Sequence[str],
        affinities: NDArray[np.int8],
        scale: float,
        fields: Sequence[str],
        needs: NDArray[np.float32],
        groups: Mapping[str, str],
    ) -> None:
        rows = np.zeros((len(words) + 1, len(fields) + 1), np.float32)
        rows[1:, 1:] = affinities.astype(np.float32) * scale
        rows[:, 0] = np.square(rows[:, 1:].max(axis=1, initial=0.0))
        rows[:, 1:] *= rows[:, :1]
        edges = [index + 1 for index, word in enumerate(words) if "-" in word]
        rows[edges] *= EDGE_WEIGHT
        # Row 0 stands for words that say nothing; column 0 holds the words' weights.
        self._rows = rows
        # A word's row and, in the lowest bits, its group: one look for both.
        self._codes = {
            word.encode(): (index if rows[index, 0] > 0 else 0) << _GROUP_BITS
            for index, word in enumerate(words, start=1)
        }
        for group, listed in enumerate(groups.values(), start=1):
            for word in listed.split():
                self._codes[word.encode()] = self._codes.get(word.encode(), 0) | group
        self._ones = np.ones(_MOST_WORDS, np.float32)
        self._needs_and_ones = np.stack([needs, np.ones_like(needs)], axis=1)
        self.fields = tuple(fields)
        self._mean_need = float(needs.mean())

    def hear(self, words: Sequence[bytes]) -> Heard:
        """What words in lower case say. Of fields, each different word speaks once; the mean of them if none does."""
        codes = list(map(self._codes.get, words))
        counts = [0] * (_GROUPS + 1)
        for code in filter(None, codes):
            counts[code & _GROUPS] += 1
        known = set(codes)
        if None in known:
            edge = self._codes.get
            for word, known_code in zip(words, codes, strict=True):
                if known_code is None and len(word) >= LEAST_LETTERS:
                    known.add(edge(word[:EDGE_LETTERS] + b"-"))
                    known.add(edge(b"-" + word[-EDGE_LETTERS:]))
        # In order, for sums of floating-point numbers depend on it.
        found = sorted([code >> _GROUP_BITS for code in filter(None, known) if code > _GROUPS])[:_MOST_WORDS]
        if not found:
            return Heard(counts, "", 0.0, self._mean_need)
        summed = self._ones[: len(found)] @ self._rows.take(found, axis=0)
        weight = float(summed[0])
        if weight <= 0:
            return Heard(counts, "", 0.0, self._mean_need)
        likely = np.exp(summed[1:] * np.float32(_SHARPNESS * min(len(found), _SURE) ** 0.5 / weight))
        need, total = (likely @ self._needs_and_ones).tolist()
        best = int(likely.argmax())
        return Heard(counts, self.fields[best], float(likely[best]) / total, need / total)

"""The topic of a prompt: fields of knowledge told by its words alone, from a table made in training.

Each word has an affinity to each field, distilled from a sentence encoder; a word not in the table is judged by its
beginning and its end. Words count by the square of how clearly they speak of one field, so that "the" says nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# Letters of a word's beginning and end by which an unknown word is judged, and what such a judgement weighs.
EDGE_LETTERS = 4
MIN_LETTERS = 6
EDGE_WEIGHT = 0.5
# Words after which more of them make no surer.
_SURE = 6
_SHARPNESS = 16.0
# Different words that count, at most.
_MAX_WORDS = 256
# Fields that a word may speak of, those that it speaks of most.
_FIELDS_OF_A_WORD = 3
_GROUP_BITS = 4
_GROUPS = (1 << _GROUP_BITS) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class WordReading:
    """The result of reading words.

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
        said = affinities.astype(np.float32) * scale
        clear = np.square(said.max(axis=1, initial=0.0))
        clear[[index for index, word in enumerate(words) if "-" in word]] *= EDGE_WEIGHT
        top = np.argsort(-said, axis=1, kind="stable")[:, :_FIELDS_OF_A_WORD]
        spoken = (np.take_along_axis(said, top, axis=1) * clear[:, None]).tolist()
        # What each word says: its weight, and its fields, each with the affinity times that weight. Plain tuples: over
        # so few words they cost half of what arrays do, whose code the processor has to fetch each time.
        self._says: list[tuple[float, tuple[tuple[int, float], ...]]] = [(0.0, ())]
        self._says += [
            (weight, tuple(pair for pair in zip(fields_of, said_of, strict=True) if pair[1] > 0))
            for weight, fields_of, said_of in zip(clear.tolist(), top.tolist(), spoken, strict=True)
        ]
        # A word's row and, in the lowest bits, its group: one look for both.
        self._codes = {
            word.encode(): (index if self._says[index][0] > 0 else 0) << _GROUP_BITS
            for index, word in enumerate(words, start=1)
        }
        for group, listed in enumerate(groups.values(), start=1):
            for word in listed.split():
                self._codes[word.encode()] = self._codes.get(word.encode(), 0) | group
        self._needs: list[float] = needs.tolist()
        self.fields = tuple(fields)
        self._mean_need = float(needs.mean())

    def read_words(self, words: Sequence[bytes]) -> WordReading:
        """Read words in lower case. Of fields, each different word counts once; the mean of them if none does."""
        codes = list(map(self._codes.get, words))
        counts = [0] * (_GROUPS + 1)
        for code in filter(None, codes):
            counts[code & _GROUPS] += 1
        known = set(codes)
        if None in known:
            edge = self._codes.get
            for word in set(words).difference(self._codes):
                if len(word) >= MIN_LETTERS:
                    known.add(edge(word[:EDGE_LETTERS] + b"-"))
                    known.add(edge(b"-" + word[-EDGE_LETTERS:]))
        # In order, for sums of floating-point numbers depend on it.
        found = sorted([code >> _GROUP_BITS for code in filter(None, known) if code > _GROUPS])[:_MAX_WORDS]
        if not found:
            return WordReading(counts, "", 0.0, self._mean_need)
        spoken: dict[int, float] = {}
        weight = 0.0
        for row in found:
            clear, fields = self._says[row]
            weight += clear
            for field, said in fields:
                spoken[field] = spoken.get(field, 0.0) + said
        sharpness = _SHARPNESS * min(len(found), _SURE) ** 0.5 / weight
        # A field that nothing speaks of has likelihood 1.
        total = float(len(self._needs) - len(spoken))
        need = total * self._mean_need
        best, most = 0, 0.0
        for field, said in spoken.items():
            likelihood = math.exp(sharpness * said)
            total += likelihood
            need += likelihood * self._needs[field]
            if likelihood > most:
                best, most = field, likelihood
        return WordReading(counts, self.fields[best], most / total, need / total)

"""How demanding a prompt is, from 0 (trivial) to 1, so that `auto` can pick a model that is just good enough."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

# Keeps log-odds finite.
_LEAST = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What is predicted of a prompt.

    Attributes:
        complexity: the probability, 0 to 1, that the answer of a model of quality `middle` doesn't suffice.
        features: the named numbers that it came from.
        steepness: by how much a step of 1 in quality raises the log-odds that an answer suffices.
        middle: a quality, 0 to 1.
    """

    complexity: float
    features: tuple[tuple[str, float], ...]
    steepness: float = 4.0
    middle: float = 0.5

    def suffices(self, quality: float) -> float:
        """The probability that the answer of a model of that quality (0 to 1, as in the catalog) suffices.

        A two-parameter logistic curve of item response theory: every model, known in training or not, is a quality.
        """
        fails = min(1 - _LEAST, max(_LEAST, self.complexity))
        return 1 / (1 + fails / (1 - fails) * math.exp(-self.steepness * (quality - self.middle)))


class Predictor(Protocol):
    """Predicts from the prompt's texts, in microseconds and without I/O."""

    def predict(self, texts: Sequence[str]) -> Prediction:
        """What is predicted of a request with these texts, oldest first."""


# Characters looked at from each end of a prompt; of the words there, those of the outer half.
_SAMPLE = 512
_WORDS = 256

_REASONING_WORDS = """
    analyse analyze argue assess because compare contrast contradiction critique deduce derive design
    evaluate explain hypothesis implications infer interpret justify optimal optimise optimize plan
    proof prove rationale reason reasoning step-by-step strategy synthesise synthesize therefore theorem
    trade-off trade-offs tradeoffs why workflow
"""
_REASONING = frozenset(_REASONING_WORDS.split())
# Everything that is neither letter, digit nor space; marks are counted among what is left of a text, which is little.
_PLAIN = bytes(byte for byte in range(128) if chr(byte).isalnum() or chr(byte) in " ,.'\"-")
_CODE_MARKS = (b"{", b"}", b"`", b";", b"<", b">", b"_", b"(")
_CODE_WORDS = ("```", "def ", "class ", "import ", "return ", "SELECT ", "#include", "=>", "==", "::", "();")
_MATHS_MARKS = (b"=", b"^", b"\\", b"+", b"*", b"/")
_MATHS_SYMBOLS = "∑∫√≤≥π∞∂≈≠"
_PART_MARKS = (b"?", b"\n", b";", b":")


class RulePredictor:
    """Length, code, maths, reasoning words and the number of parts, each saturating, weighed by hand.

    Under 20 us for 1 KB, and no more for any length: what is asked stands at the ends of a prompt.
    """

    def predict(self, texts: Sequence[str]) -> Prediction:
        """The complexity of a request with these texts."""
        length = sum(map(len, texts))
        text = texts[0] if len(texts) == 1 else "\n".join(_ends(texts, length))
        if len(text) > 2 * _SAMPLE:
            text = text[:_SAMPLE] + "\n" + text[-_SAMPLE:]
        marks = text.encode("utf-8", "replace").translate(None, _PLAIN)
        count = marks.count
        code_marks = sum(map(count, _CODE_MARKS))
        if code_marks:
            code_marks += 4 * sum(map(text.count, _CODE_WORDS))
        sums = sum(map(count, _MATHS_MARKS))
        if not text.isascii():
            sums += 4 * sum(map(text.count, _MATHS_SYMBOLS))
        size = min(1.0, math.log2(1 + length / 48) / 8)
        code = _saturate(code_marks, 16)
        maths = _saturate(sums, 10)
        ends = text if len(text) <= 2 * _WORDS else f"{text[:_WORDS]} {text[-_WORDS:]}"
        reasoning = _saturate(len(_REASONING.intersection(ends.lower().split())), 2)
        parts = _saturate(sum(map(count, _PART_MARKS)), 12)
        rest = (1 - 0.35 * size) * (1 - 0.45 * code) * (1 - 0.45 * maths) * (1 - 0.5 * reasoning) * (1 - 0.2 * parts)
        return Prediction(
            1 - rest,
            (
                ("length_characters", float(length)),
                ("size", size),
                ("code", code),
                ("maths", maths),
                ("reasoning", reasoning),
                ("parts", parts),
            ),
        )


def _saturate(count: int, half: int) -> float:
    return count / (count + half)


def _ends(texts: Sequence[str], length: int) -> Sequence[str]:
    """The texts, or of many long ones only as many from both ends as are looked at."""
    if length <= 2 * _SAMPLE:
        return texts
    first: list[str] = []
    last: list[str] = []
    seen = 0
    for text in texts:
        first.append(text[:_SAMPLE])
        seen += len(text)
        if seen >= _SAMPLE:
            break
    seen = 0
    for text in reversed(texts[len(first) :]):
        last.append(text[-_SAMPLE:])
        seen += len(text)
        if seen >= _SAMPLE:
            break
    return [*first, *reversed(last)]

"""The gains of large models over small ones, by subject of exam, from published accuracies (`subjects.csv`)."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

TABLE = Path(__file__).with_name("subjects.csv")

# Copied from published tables, and as remembered of leaderboards: each half of the gain.
_SMALL = (("llama_3_1_8b", "llama_3_8b", "mistral_7b"), ("mixtral_8x7b",))
_LARGE = (("gpt_4o_mini", "gemini_1_5_flash", "gemini_1_5_pro"), ("gpt_4",))
# Gains that are need 0 and 1; all subjects lie between.
_NO_NEED, _FULL_NEED = 0.02, 0.30


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A subject of the exam.

    Attributes:
        questions: how many the exam has of it.
        gain: how much more often large models are right than small ones.
    """

    questions: int
    gain: float


def read_subjects(table: Path = TABLE) -> dict[str, Subject]:
    """The subjects by name."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["subject"]: Subject(int(row["questions"]), _gain(row)) for row in rows}


def need_of(subjects: Sequence[Subject]) -> float:
    """The need of a field that these subjects make up, 0 to 1: their mean gain, each question counting alike."""
    questions = sum(subject.questions for subject in subjects)
    gain = sum(subject.questions * subject.gain for subject in subjects) / questions
    return min(1.0, max(0.0, (gain - _NO_NEED) / (_FULL_NEED - _NO_NEED)))


def _gain(row: dict[str, str]) -> float:
    gains = [
        sum(float(row[name]) for name in large) / len(large) - sum(float(row[name]) for name in small) / len(small)
        for small, large in zip(_SMALL, _LARGE, strict=True)
    ]
    return sum(gains) / len(gains)

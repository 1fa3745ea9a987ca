"""Reads prompts with what a weak and a strong model made of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# What is read at most; 14,000 exam questions are 10 MB.
MAX_BYTES = 1 << 30
_MAX_FIELD = 1 << 24


class BadAnswers(Exception):
    """The file can't be evaluated; the message says where and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """Prompts with both models' scores, 0 (wrong) to 1 (right), and of other models by column; shape (prompts,)."""

    prompts: list[str]
    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    others: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)


def read_answers(path: Path, others: Sequence[str] = ()) -> Answers:
    """Read a CSV file in UTF-8 whose first line names at least the columns prompt, weak and strong, in any order.

    Args:
        path: the file.
        others: columns with the scores of other models.

    Raises:
        BadAnswers: it can't be read, a column is missing, a score isn't a number from 0 to 1, there are no rows, or
            the strong model is not better than the weak one on average, so that there is no gap to recover.
    """
    csv.field_size_limit(_MAX_FIELD)
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    prompts: list[str] = []
    scored = ("weak", "strong", *others)
    scores: list[list[float]] = [[] for _ in scored]
    try:
        places = _places(path, next(rows, []), ("prompt", *scored))
        least = max(places) + 1
        for row in rows:
            if not row:
                continue
            where = f"{path}, line {rows.line_num}"
            if len(row) < least:
                raise BadAnswers(f"{where}: {len(row)} columns, and the first line has at least {least}")
            prompts.append(row[places[0]])
            for column, place, taken in zip(scored, places[1:], scores, strict=True):
                taken.append(_score(where, column, row[place]))
    except csv.Error as error:
        raise BadAnswers(f"{path}, line {rows.line_num}: not CSV: {error}") from None
    if not prompts:
        raise BadAnswers(f"{path}: no rows below the first line; give at least one")
    weak, strong, *rest = map(np.array, scores)
    answers = Answers(prompts, weak, strong, dict(zip(others, rest, strict=True)))
    if not answers.strong.mean() > answers.weak.mean():
        raise BadAnswers(
            f"{path}: the strong model's mean score is {answers.strong.mean():.4f} and the weak one's "
            f"{answers.weak.mean():.4f}: there is no gap to recover; are the columns swapped?"
        )
    return answers


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadAnswers(f"{path}: {error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise BadAnswers(f"{path}: more than {MAX_BYTES} bytes; give a part of it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadAnswers(f"{path}, line {line}: not UTF-8 (byte {raw[error.start]:#04x}); save it as UTF-8") from None


def _places(path: Path, header: list[str], columns: Sequence[str]) -> list[int]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in columns if name not in names]
    if missing:
        raise BadAnswers(
            f"{path}: no column {', '.join(map(repr, missing))} in its first line "
            f"({', '.join(name[:32] for name in names[:8]) or 'empty'}); it must name {', '.join(columns)}"
        )
    doubled = [name for name in columns if names.count(name) > 1]
    if doubled:
        raise BadAnswers(f"{path}: more than one column {doubled[0]!r} in its first line")
    return [names.index(name) for name in columns]


def _score(where: str, column: str, text: str) -> float:
    word = text.strip().lower()
    if word in ("true", "false"):
        return float(word == "true")
    try:
        score = float(word)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise BadAnswers(f"{where}: {column} is {text[:32]!r}, and must be a number from 0 to 1")
    return score

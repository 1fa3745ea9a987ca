"""The command `evaluate-cache`: hit rates and wrong-hit rates of the semantic cache, by cosine threshold."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from enginehouse.kit.config import ConfigError
from enginehouse.router.cache._guard import conflict, traits
from enginehouse.router.cache._semantic import Vector

_THRESHOLDS = (0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97)
_AT_ONCE = 64
_TIMEOUT_S = 60


@dataclasses.dataclass(frozen=True, slots=True)
class QuestionPair:
    """Two questions.

    Attributes:
        one: the first question.
        other: the second question.
        same: true if one answer serves both.
    """

    one: str
    other: str
    same: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """The rates of right and wrong hits at a threshold.

    Attributes:
        threshold: the cosine from which questions count as one.
        hits: the share of the pairs of one meaning that share an answer, by cosine alone.
        wrong: the share of the other pairs that share an answer, by cosine alone.
        guarded_hits: the same as `hits`, with the guard.
        guarded_wrong: the same as `wrong`, with the guard.
    """

    threshold: float
    hits: float
    wrong: float
    guarded_hits: float
    guarded_wrong: float


def add_evaluate_cache(commands: Any) -> None:
    """Add the command to an argument parser's commands."""
    about = (
        "Measure how often questions of one meaning share an answer, and how often others would: by cosine threshold, "
        "with and without the guard. Takes vectors from a mesh; the key is read from ENGINEHOUSE_API_KEY."
    )
    sub = commands.add_parser("evaluate-cache", help=about, description=about)
    sub.add_argument("file", type=Path, help='lines of JSON: {"one": text, "other": text, "same": true or false}')
    sub.add_argument("--url", default="http://127.0.0.1:8080", help="the mesh")
    sub.add_argument("--model", default="all-minilm-l6-v2", help="the model that makes the vectors")
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.set_defaults(offline=_evaluate)


def rates(pairs: Sequence[QuestionPair], cosines: Sequence[float], *, threshold: float) -> Rates:
    """Return the rates of pairs with these cosines at a threshold."""
    near = [cosine >= threshold for cosine in cosines]
    passed = [not conflict(traits(pair.one), traits(pair.other)) for pair in pairs]

    def share(same: bool, *, guarded: bool) -> float:
        found = [
            close and (free or not guarded)
            for pair, close, free in zip(pairs, near, passed, strict=True)
            if pair.same is same
        ]
        return sum(found) / len(found) if found else 0.0

    return Rates(
        threshold,
        share(True, guarded=False),
        share(False, guarded=False),
        share(True, guarded=True),
        share(False, guarded=True),
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    pairs = _read(arguments.file)
    texts = [text for pair in pairs for text in (pair.one, pair.other)]
    vectors = _vectors(texts, url=arguments.url, model=arguments.model)
    cosines = [float(vectors[at] @ vectors[at + 1]) for at in range(0, len(texts), 2)]
    found = [rates(pairs, cosines, threshold=threshold) for threshold in _THRESHOLDS]
    if arguments.json:
        sys.stdout.write(orjson.dumps([dataclasses.asdict(row) for row in found]).decode() + "\n")
        return 0
    same = sum(pair.same for pair in pairs)
    sys.stdout.write(f"{same} pairs of one meaning, {len(pairs) - same} of another; vectors by {arguments.model}\n")
    sys.stdout.write("threshold   hits  wrong   with the guard: hits  wrong\n")
    for row in found:
        sys.stdout.write(
            f"{row.threshold:9.2f} {row.hits:6.1%} {row.wrong:6.1%} {row.guarded_hits:20.1%} {row.guarded_wrong:6.1%}\n"
        )
    return 0


def _read(file: Path) -> list[QuestionPair]:
    pairs = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            entry = orjson.loads(line)
            pair = QuestionPair(entry["one"], entry["other"], entry["same"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise ConfigError(
                f'{file}: line {number}: invalid pair; write {{"one": text, "other": text, "same": true or false}}'
            ) from None
        if not (isinstance(pair.one, str) and isinstance(pair.other, str) and isinstance(pair.same, bool)):
            raise ConfigError(f'{file}: line {number}: "one" and "other" must be texts, and "same" true or false')
        pairs.append(pair)
    if not pairs:
        raise ConfigError(f"{file}: no pairs in it")
    return pairs


def _vectors(texts: Sequence[str], *, url: str, model: str) -> list[Vector]:
    key = os.environ.get("ENGINEHOUSE_API_KEY", "")
    found: list[Vector] = []
    try:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S) as client:
            for start in range(0, len(texts), _AT_ONCE):
                body = {"model": model, "input": list(texts[start : start + _AT_ONCE])}
                response = client.post("/v1/embeddings", json=body)
                if response.status_code != 200:
                    raise ConfigError(f"no vectors from {url} (status {response.status_code}): {response.text[:300]}")
                for entry in response.json()["data"]:
                    vector = np.array(entry["embedding"], dtype=np.float32)
                    found.append(vector / np.linalg.norm(vector))
    except httpx.HTTPError as error:
        raise ConfigError(
            f"no answer from {url} ({type(error).__name__}); start a mesh, or name one by --url"
        ) from None
    return found

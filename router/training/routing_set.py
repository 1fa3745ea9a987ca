"""Reads LLMRouter's routing set: questions with the scores of nine models (its folder is an argument)."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Judged by what was answered, not by the words shared with a reference: there 0 and 1 mean wrong and right.
_RIGHT_OR_WRONG = frozenset({"em_mc", "MATH", "GSM8K", "code_eval"})
_CHOICES = "em_mc"
# Below pure chance, what failed is the reading of the answer, not the model.
_CHANCE = 0.25
# Appended by the set to some questions, the same for all.
_INSTRUCTION = re.compile(r"\nAfter careful thought, put you[r]? final answer in .*$", re.DOTALL)
_STEP = re.compile("<<")
_PREFIX = 300

STORY_TASKS = ("gsm8k", "agentverse-mgsm")
# A pair tells something if one model is decidedly better than the other and mostly right itself.
_STRONG, _MIN_GAIN = 0.7, 0.15


# The set has nothing that is easy for every model. What people say every day is, mostly.
EVERYDAY = "everyday"
_EVERYDAY_SCORE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class RoutingSet:
    """Questions with scores.

    Attributes:
        questions: the texts.
        tasks: of each question.
        scores: shape (questions, models), NaN where a model's answers to a task could not be read.
        models: their names.
        steps: of each question, the steps that its worked solution writes down; NaN where there is none.
    """

    questions: list[str]
    tasks: NDArray[np.str_]
    scores: NDArray[np.float64]
    models: tuple[str, ...]
    steps: NDArray[np.float64]

    def pairs(self, task: str) -> list[tuple[int, int]]:
        """The pairs of models (strong, weak) whose difference on a task says something."""
        mean = self.scores[self.tasks == task].mean(axis=0)
        return [
            (strong, weak)
            for strong in range(len(self.models))
            for weak in range(len(self.models))
            if mean[strong] >= _STRONG and mean[weak] >= _CHANCE and mean[strong] - mean[weak] >= _MIN_GAIN
        ]

    def gain(self, task: str) -> NDArray[np.float64]:
        """Of each question of a task, what the strong model gains over the weak one: shape (questions, pairs)."""
        scores = self.scores[self.tasks == task]
        return np.array([scores[:, strong] - scores[:, weak] for strong, weak in self.pairs(task)]).T


def read_routing_set(folder: Path, *, everyday: Path) -> RoutingSet:
    """The questions that are judged right or wrong, in the set's order, then a file's lines that every model can serve.

    Raises:
        OSError: a file is missing.
    """
    about = {}
    for line in (folder / "default_query_train.jsonl").read_text().strip().split("\n"):
        one = json.loads(line)
        about[one["query"][:_PREFIX]] = one
    rows = json.loads((folder / "train.json").read_text())
    models = tuple(sorted(rows[0]["scores"]))
    kept = [(row, about[row["question"][:_PREFIX]]) for row in rows if row["question"][:_PREFIX] in about]
    kept = [(row, task) for row, task in kept if task["metric"] in _RIGHT_OR_WRONG]
    tasks = np.array([task["task_name"] for _, task in kept])
    scores = np.array([[float(row["scores"][model]) for model in models] for row, _ in kept])
    for task in np.unique(tasks):
        here = tasks == task
        unread = scores[here].mean(axis=0) < (_CHANCE if _metric(kept, here) == _CHOICES else 0.02)
        scores[np.ix_(here, unread)] = np.nan
    lines = everyday.read_text().strip().split("\n")
    return RoutingSet(
        questions=[_INSTRUCTION.sub("", row["question"]) for row, _ in kept] + lines,
        tasks=np.concatenate([tasks, np.full(len(lines), EVERYDAY)]),
        scores=np.concatenate([scores, np.full((len(lines), len(models)), _EVERYDAY_SCORE)]),
        models=models,
        steps=np.array([_steps(task) for _, task in kept] + [np.nan] * len(lines)),
    )


def _metric(kept: list[tuple[dict[str, object], dict[str, object]]], here: NDArray[np.bool_]) -> object:
    return kept[int(np.flatnonzero(here)[0])][1]["metric"]


def _steps(one: dict[str, object]) -> float:
    solution = str(one["ground_truth"])
    return float(max(1, len(_STEP.findall(solution)))) if "####" in solution else float("nan")

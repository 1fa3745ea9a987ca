"""Measures how well the router chooses between a weak and a strong model, on prompts whose answers are known."""

from enginehouse.router.evaluation._answers import Answers, BadAnswers, read_answers
from enginehouse.router.evaluation._command import add_evaluate
from enginehouse.router.evaluation._curve import Ranking, apgr, cpt
from enginehouse.router.evaluation._report import EqualCost, Measure, Report, RouterMeasures, Saving, evaluate

__all__ = [
    "Answers",
    "BadAnswers",
    "EqualCost",
    "Measure",
    "Ranking",
    "Report",
    "RouterMeasures",
    "Saving",
    "add_evaluate",
    "apgr",
    "cpt",
    "evaluate",
    "read_answers",
]

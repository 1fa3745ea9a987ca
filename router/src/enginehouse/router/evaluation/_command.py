"""The command `enginehouse-router evaluate`: it needs a file and nothing that runs."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import orjson

from enginehouse.router.evaluation._answers import BadAnswers, read_answers
from enginehouse.router.evaluation._report import evaluate
from enginehouse.router.predictor import load_predictor

_ABOUT = (
    "Measure the choice between a weak and a strong model on a CSV file with the columns prompt, weak and strong "
    "(scores 0 to 1): APGR and CPT(20/50/80) by RouteLLM's method, and beside single models at the same cost."
)
# GPT-4 cost about 100 times what Mixtral 8x7B did when RouteLLM's figures were made; today's pairs are nearer to 20.
_PRICE_RATIO = 20.0
_RESAMPLES = 1000
_MAX_RESAMPLES = 100_000


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate", help="measure the model choice on a CSV file of answers", description=_ABOUT
    )
    parser.add_argument("file", type=Path, help="a CSV file in UTF-8 with the columns prompt, weak and strong")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--price-ratio",
        type=_ratio,
        default=_PRICE_RATIO,
        help=f"what a call of the strong model costs in calls of the weak one (default {_PRICE_RATIO:g})",
    )
    parser.add_argument(
        "--single",
        type=_single,
        action="append",
        default=[],
        metavar="COLUMN=PRICE",
        help="another model to compare with at the same cost: the column of its scores, and what a call costs in weak "
        "ones; may be repeated",
    )
    parser.add_argument(
        "--resamples", type=_resamples, default=_RESAMPLES, help=f"for the intervals (default {_RESAMPLES})"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of the resamples (default 0)")
    parser.add_argument("--predictor", type=Path, default=None, help="an artefact other than the one shipped")
    parser.set_defaults(offline=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    predictor = load_predictor(arguments.predictor)
    try:
        prices = dict(arguments.single)
        answers = read_answers(arguments.file, tuple(prices))
    except BadAnswers as error:
        sys.stderr.write(f"enginehouse-router: {error}\n")
        return 2
    report = evaluate(
        answers,
        predictor,
        price_ratio=arguments.price_ratio,
        resamples=arguments.resamples,
        seed=arguments.seed,
        prices=prices,
    )
    text = orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode() if arguments.json else report.as_text()
    sys.stdout.write(text + "\n")
    return 0


def _ratio(text: str) -> float:
    value = _number(text)
    if not 1 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 1: a strong call costs more than a weak one")
    return value


def _single(text: str) -> tuple[str, float]:
    column, _, price = text.rpartition("=")
    column, value = column.strip().lower(), _number(price)
    if column in ("", "prompt", "weak", "strong"):
        raise argparse.ArgumentTypeError(f"{text!r} must name a column of another model, such as middle=5")
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: the price must be more than 0")
    return column, value


def _resamples(text: str) -> int:
    return _whole(text, least=1, most=_MAX_RESAMPLES)


def _seed(text: str) -> int:
    return _whole(text, least=0, most=2**63 - 1)


def _whole(text: str, *, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least} to {most}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None

"""Measures how well an artefact ranks the subjects of an exam by what large models gain there over small ones.

Run: `python router/training/subject_ranking.py [--predictor FILE.npz]`. It needs no data but this folder's: three
questions of each subject, written for it, and the gains of `subjects.csv`. A question stands for a third of its
subject's. That says how well fields are recognised and ordered, and nothing of the order within a subject. Words were
added to fields after a look at these questions, so it flatters them.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

import numpy as np
from subjects import read_subjects

from enginehouse.router.evaluation import Ranking, apgr
from enginehouse.router.predictor import load_predictor

HERE = Path(__file__).parent


def main() -> None:
    """Print the area under the gap recovered, by what is read of each question, and by the gains themselves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictor", type=Path, default=None, help="an artefact other than the one shipped")
    predictor = load_predictor(parser.parse_args().predictor)
    exam = read_subjects()
    fields = tomllib.loads((HERE / "topics.toml").read_text())
    lines = (HERE / "exam_questions.txt").read_text().strip().split("\n")
    asked = [line.split("\t") for line in lines]
    predictions = [predictor.predict([_prompt(text)]) for _, text in asked]
    gains = np.array([exam[subject].gain for subject, _ in asked])
    weights = np.array([exam[subject].questions / 3 for subject, _ in asked])
    need = np.array([dict(prediction.features)["need"] for prediction in predictions])
    complexity = np.array([prediction.complexity for prediction in predictions])
    for name, scores in (("need", need), ("complexity", complexity), ("the gains themselves", gains)):
        sys.stdout.write(f"{name}: {apgr(*Ranking(scores, gains).curve(weights)):.3f}\n")
    recognised = 0
    for (subject, _), prediction in zip(asked, predictions, strict=True):
        field = next((name[6:] for name, _ in prediction.features if name.startswith("field.")), "")
        recognised += subject in fields.get(field, {}).get("subjects", ())
    sys.stdout.write(f"the subject's own field is the likeliest for {recognised} of {len(asked)}\n")


def _prompt(text: str) -> str:
    *question, first, second, third, fourth = text.split(" | ")
    return f"{' | '.join(question)}\nA. {first}\nB. {second}\nC. {third}\nD. {fourth}"


if __name__ == "__main__":
    main()

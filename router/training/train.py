"""Trains the router's predictor and says how good it is on questions that it did not see.

Run, with the extra `training` installed:
`python router/training/train.py --data FOLDER --text FOLDER --out FILE.npz`

The same inputs, seed and libraries give the same file, byte for byte. About three minutes on one core, most of it the
encoder's. `--figures` measures by cross-validation, in a few minutes more, and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from figures import figures
from fit import fit, numbers_of
from routing_set import read_routing_set
from word_table import Table, make_table

from enginehouse.router.predictor import GROUPS, Artefact, WordTable, save_artefact

HERE = Path(__file__).parent


def main() -> None:
    """Train, write the artefact, and print the figures if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="LLMRouter's routing set")
    parser.add_argument("--text", type=Path, required=True, help="English text whose words are to be known")
    parser.add_argument("--topics", type=Path, default=HERE / "topics.toml", help="the fields")
    parser.add_argument("--out", type=Path, required=True, help="the artefact to write")
    parser.add_argument("--seed", type=int, default=0, help="of the splits that the figures are made on")
    parser.add_argument("--figures", action="store_true", help="also measure by cross-validation")
    arguments = parser.parse_args()
    data = read_routing_set(arguments.data, everyday=HERE / "everyday.txt")
    made = make_table(topics=arguments.topics, text=arguments.text)
    table = word_table(made)
    numbers = numbers_of(data.questions, table)
    everything = data.tasks != ""
    fitted = fit(data, numbers, everything)
    save_artefact(
        Artefact(fitted.weights, made.words, made.affinities, made.scale, made.fields, made.needs), arguments.out
    )
    sys.stderr.write(f"{arguments.out}: {arguments.out.stat().st_size} bytes, {len(data.questions)} questions\n")
    if arguments.figures:
        json.dump(figures(data, numbers, seed=arguments.seed), sys.stdout, indent=1)
        sys.stdout.write("\n")


def word_table(made: Table) -> WordTable:
    """The table as it will be served."""
    return WordTable(
        words=made.words,
        affinities=made.affinities,
        scale=made.scale,
        fields=made.fields,
        needs=made.needs,
        groups=GROUPS,
    )


if __name__ == "__main__":
    main()

"""The command line of `python -m bench`."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

from .selection import CONCURRENCIES, PARTS, PATHS, ROUNDS, SECONDS, SOAK_S, WORKLOADS, Selection, named, slug


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The choices of a command line."""

    selection: Selection
    speech: pathlib.Path | None
    """A folder of recordings whose words are known."""
    json: pathlib.Path | None
    markdown: pathlib.Path | None


def parse(arguments: Sequence[str] | None = None) -> Arguments:
    """Read the command line; exits with the fault and the choices if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure everything in one run, print the table and save it.",
        epilog="Only a run of everything replaces the saved table. Others print, and write where they are told to.",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--paths", nargs="+", choices=[slug(name) for name in PATHS], default=list(PATHS))
    parser.add_argument("--workloads", nargs="+", choices=[slug(name) for name in WORKLOADS], default=list(WORKLOADS))
    parser.add_argument("--concurrencies", nargs="+", type=int, default=list(CONCURRENCIES))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each turn of a path lasts")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often paths take turns at the highest load")
    parser.add_argument("--soak-seconds", type=float, default=SOAK_S, help="how long the soak lasts")
    parser.add_argument("--speech", type=pathlib.Path, metavar="DIR", help="recordings whose words are known")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="where to write the table")
    given = parser.parse_args(arguments)
    selection = Selection(
        parts=given.parts,
        paths=[named(PATHS, name) for name in given.paths],
        workloads=[named(WORKLOADS, name) for name in given.workloads],
        concurrencies=given.concurrencies,
        seconds=given.seconds,
        rounds=given.rounds,
        soak_s=given.soak_seconds,
    )
    return Arguments(selection=selection, speech=given.speech, json=given.json, markdown=given.markdown)

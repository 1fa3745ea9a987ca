"""Tables of text. Ids, names and amounts are never broken: only columns of prose or of lists fold, and only at blanks.

A table that is read by another program has one line for each row, whatever the width of anything.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.cells import cell_len

WideFlag = Annotated[
    bool, typer.Option("--wide", help="Print each row on one line, as it is when the output is no terminal.")
]

_GAP = "  "


def format_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None, folding: Collection[str] = ()
) -> list[str]:
    """Return the lines of a table.

    Args:
        columns: the headings.
        rows: the cells.
        width: the columns of the terminal to fit into; None for one line a row.
        folding: the columns of prose or of lists, which are folded at blanks if that makes the table fit.
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in (columns, *rows)]
    widths = [max(cell_len(row[at]) for row in cells) for at in range(len(columns))]
    if width is not None:
        widths = _fitted(columns, cells, widths, width, folding)
    lines: list[str] = []
    for row in cells:
        folded = [_folded(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(len(parts) for parts in folded)):
            parts = [parts[number] if number < len(parts) else "" for parts in folded]
            lines.append(_GAP.join(_padded(part, size) for part, size in zip(parts, widths, strict=True)).rstrip())
    return lines


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    empty: str,
    wide: bool = False,
    folding: Collection[str] = (),
) -> None:
    """Print rows under headings, or the text `empty` without rows.

    Args:
        columns: the headings.
        rows: the cells.
        empty: the text for no rows.
        wide: print each row on one line, even in a narrow terminal.
        folding: the columns of prose or of lists, which may be folded in a narrow terminal.
    """
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal and not wide else None
    lines = format_table(columns, rows, width=width, folding=folding)
    if terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        lines[0] = f"\033[1m{lines[0]}\033[0m"
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _fitted(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    width: int,
    folding: Collection[str],
) -> list[int]:
    """Narrow the folding columns, the widest first, to their longest word at most; none if that is not enough."""
    fitted = list(widths)
    least = {
        at: max(cell_len(word) for row in cells for word in (row[at].split(" ") or [""]))
        for at, name in enumerate(columns)
        if name in folding
    }
    excess = sum(fitted) + len(_GAP) * (len(fitted) - 1) - width
    while excess > 0:
        narrowable = [at for at, size in least.items() if fitted[at] > size]
        if not narrowable:
            # The terminal breaks lines in any case, and whole rows are the easier ones to read and to copy.
            return list(widths)
        fitted[max(narrowable, key=lambda at: fitted[at])] -= 1
        excess -= 1
    return fitted


def _folded(cell: str, width: int) -> list[str]:
    if cell_len(cell) <= width:
        return [cell]
    parts: list[str] = []
    for word in cell.split(" "):
        if parts and cell_len(f"{parts[-1]} {word}") <= width:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def _padded(part: str, width: int) -> str:
    return part + " " * (width - cell_len(part))

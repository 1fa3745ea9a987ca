"""Tables: ids are whole at every width, rows are one line where a program reads them, prose alone folds."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli import tables

COLUMNS = ["id", "name", "note"]
ID = "key_" + "0123456789abcdef" * 2
ROWS = [[ID, "a name with blanks", "prose that says rather more than fits beside an id in a narrow terminal"]]


def test_a_program_gets_one_line_for_each_row() -> None:
    lines = tables.format_table(COLUMNS, ROWS, folding=["note"])
    assert len(lines) == 2
    assert all(cell in lines[1] for cell in ROWS[0])


@pytest.mark.parametrize("width", [80, 70])
def test_prose_folds_at_blanks_and_ids_and_names_do_not(width: int) -> None:
    lines = tables.format_table(COLUMNS, ROWS, width=width, folding=["note"])
    assert len(lines) > 2
    assert all(len(line) <= width for line in lines)
    assert ID in lines[1]
    assert "a name with blanks" in lines[1]
    assert " ".join(line[len(ID) + 22 :].strip() for line in lines[1:]) == ROWS[0][2]


def test_what_cannot_fit_stays_whole() -> None:
    lines = tables.format_table(COLUMNS, ROWS, width=40, folding=["note"])
    assert lines == tables.format_table(COLUMNS, ROWS)


def test_wide_letters_and_line_breaks_keep_the_columns() -> None:
    lines = tables.format_table(["name", "state"], [["日本", "on"], ["two\nlines", "off"]])
    assert lines == ["name       state", "日本       on", "two lines  off"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_folds_unless_wide_is_asked_for(monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for wide, count in ((False, 5), (True, 2)):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        tables.print_table(COLUMNS, ROWS, empty="none", wide=wide, folding=["note"])
        assert len(terminal.getvalue().splitlines()) == count
        assert ID in terminal.getvalue()


def test_the_width_of_the_callers_terminal_does_not_fold_a_pipe(cli: Any, service: Any) -> None:
    keys = [
        admin_pb2.Key(key_id=f"key_{number:032x}", tenant_id=f"ten_{number:032x}", name="n" * 60, scopes=["a", "b"])
        for number in range(3)
    ]
    service.answers["ListKeys"] = admin_pb2.ListKeysResponse(keys=keys)
    cli.environment["COLUMNS"] = "40"
    lines = cli("keys", "list").stdout.splitlines()
    assert len(lines) == 4
    for key, line in zip(keys, lines[1:], strict=True):
        assert key.key_id in line
        assert key.tenant_id in line
        assert key.name in line
    assert cli("keys", "list", "--wide").stdout.splitlines() == lines

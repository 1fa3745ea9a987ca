"""Numbers: every one that a command takes is refused with its flag and its range, before anything is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main

from enginehouse.cli.app import make_app
from enginehouse.cli.values import Number


def parameters() -> Iterator[tuple[tuple[str, ...], Any]]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for parameter in command.params:
            yield path, parameter
        for name, sub in getattr(command, "commands", {}).items():
            yield from walk(sub, (*path, name))

    return walk(typer.main.get_command(make_app()), ())


def number_of(parameter: Any) -> Number | None:
    parser = parameter.type_descriptor.parameter_info.parser
    return parser if isinstance(parser, Number) else None


NUMBERS = [
    (path, parameter, number) for path, parameter in parameters() if (number := number_of(parameter)) is not None
]


def test_every_number_has_a_range() -> None:
    without = [
        (path, parameter.name)
        for path, parameter in parameters()
        if any(kind in str(parameter.type_descriptor.annotation) for kind in ("int", "float"))
        and number_of(parameter) is None
    ]
    assert without == []
    assert len(NUMBERS) > 30


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e400", "9" * 5000, "many", "", "1,5", "0x1", None])
def test_what_is_no_number_in_the_range_is_refused(bad: str | None) -> None:
    for number in (Number(least=0, most=9, whole=True), Number(least=0, most=9, whole=False)):
        for given in (bad,) if bad is not None else ("-1", "10", "9.01", "-0.01"):
            with pytest.raises(typer.BadParameter, match=f"must be a .*number {number.range}"):
                number(given)
    with pytest.raises(typer.BadParameter):
        Number(least=0, most=9, whole=True)("1.5")
    assert Number(least=0, most=9, whole=False)("1.5") == 1.5
    assert Number(least=-1, most=9, whole=True)("-1") == -1


def test_a_number_out_of_range_names_its_flag_and_the_range(cli: Any, service: Any) -> None:
    for path, parameter, number in NUMBERS:
        flag = max(parameter.opts, key=len)
        for bad in (str(number.least - 1), str(number.most * 2 + 1), "nan"):
            given = [f"{flag}={bad}"]
            if parameter.param_type_name == "argument":
                given = ["--", *(["x", "input_tokens"] if "prices" in path else []), bad]
            done = cli(*path, *given)
            assert done.exit_code == 2, (path, bad, done.output)
            told = " ".join(done.stderr.split())
            assert flag in told
            assert number.range in told
            assert bad in told
    assert service.requests == []


def test_what_is_no_time_names_its_flag_and_the_form(cli: Any, service: Any) -> None:
    for given in (("spend", "--since"), ("audit", "list", "--until"), ("prices", "set", "m", "images", "1", "--from")):
        done = cli(*given, "tomorrow")
        assert done.exit_code == 2
        told = " ".join(done.stderr.split())
        assert given[-1] in told
        assert "'tomorrow' must be a date, such as 2026-01-31" in told
    done = cli("spend", "--since", "2026-02-01", "--until", "2026-01-01T12:30:00")
    assert "--until 2026-01-01 12:30:00 is before --since 2026-02-01" in done.stderr
    assert service.requests == []


def test_help_shows_the_range(cli: Any) -> None:
    assert "[from 0 to 2]" in " ".join(cli("chat", "--help").stdout.split())


def test_limits_out_of_range_name_their_flag(cli: Any, service: Any) -> None:
    for flag, given in (
        ("--route-limit", "GenerationService/*=2147483648"),
        ("--route-limit", "GenerationService/*=1,99999999999"),
        ("--user-limit", "1,2,2147483648"),
        ("--user-limit", "-1"),
        ("--user-limit", "9" * 5000),
    ):
        done = cli("keys", "create", "--name", "n", flag, given)
        assert done.exit_code == 1
        assert flag in done.stderr
        assert "from 0 to 2147483647" in done.stderr
    assert service.requests == []

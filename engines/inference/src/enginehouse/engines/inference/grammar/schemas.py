"""Reading of the JSON schemas in requests, within bounds that keep every later step safe."""

from __future__ import annotations

import json
import math
from typing import Any

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32


def invalid_schema(field: str, description: str) -> ServiceError:
    """Return INVALID_SCHEMA, about one field of the request."""
    return ServiceError(
        Reason.INVALID_SCHEMA, f"{field}: {description}", violations=[FieldViolation(field, description)]
    )


def parse_object_schema(text: str, *, field: str) -> dict[str, Any]:
    """Return the JSON object that a schema's text holds.

    Args:
        text: at most 64 KiB, nested at most 32 deep.
        field: the request's field that it came in, for errors.

    Raises:
        ServiceError: INVALID_SCHEMA.
    """
    size = len(text.encode())
    if size > MAX_SCHEMA_BYTES:
        raise invalid_schema(field, f"too large: {size} bytes; at most {MAX_SCHEMA_BYTES} are allowed")
    try:
        schema = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        # Lone surrogates fail here, not in a later step.
        json.dumps(schema, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise invalid_schema(field, f"is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise invalid_schema(field, f"must be a JSON object, not {type(schema).__name__}")
    if _deeper_than(schema, MAX_SCHEMA_DEPTH * 2):
        raise invalid_schema(field, f"nested too deeply: over {MAX_SCHEMA_DEPTH} levels; flatten it")
    return schema


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.80} is too large a number")
    return number


def _deeper_than(value: Any, levels: int) -> bool:
    if levels == 0:
        return True
    if isinstance(value, dict):
        return any(_deeper_than(inner, levels - 1) for inner in value.values())
    return isinstance(value, list) and any(_deeper_than(inner, levels - 1) for inner in value)

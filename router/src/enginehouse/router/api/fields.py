"""Fields that many administrative requests have."""

from __future__ import annotations

import re

from enginehouse.kit.validation import Checks, is_printable

PERSON = re.compile(r"[\x21-\x7e]{1,128}")
"""Names of users and ids of runs, as headers carry them too."""


def check_name(checks: Checks, field: str, name: str) -> None:
    """Names are for people: 1-64 printable characters."""
    checks.require(
        1 <= len(name) <= 64 and is_printable(name) and name.strip() == name,
        field,
        f"{name[:80]!r} must be 1-64 printable characters, without spaces at its ends",
    )


def check_id(field: str, value: str, *, required: bool = False) -> None:
    """Ids as callers give them: at most 256 printable ASCII characters. Raises INVALID_REQUEST."""
    checks = Checks()
    checks.require(bool(value) or not required, field, "is required")
    checks.require(
        len(value) <= 256 and value.isascii() and value.isprintable(),
        field,
        f"{value[:64]!r} must be at most 256 printable ASCII characters",
    )
    checks.done()

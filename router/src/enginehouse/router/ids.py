"""Identifiers that are unique for ever without asking anybody."""

from __future__ import annotations

import os

_BYTES = 16


def new_id(prefix: str) -> str:
    """`prefix_` and 128 random bits in hexadecimal."""
    return f"{prefix}_{os.urandom(_BYTES).hex()}"


def new_ids(first: str, second: str) -> tuple[str, str]:
    """Two of them for the price of one call to the system."""
    drawn = os.urandom(2 * _BYTES).hex()
    return f"{first}_{drawn[: 2 * _BYTES]}", f"{second}_{drawn[2 * _BYTES :]}"

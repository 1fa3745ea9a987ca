"""Identifiers that are unique for ever without asking anybody."""

from __future__ import annotations

import os


def new_id(prefix: str) -> str:
    """`prefix_` and 128 random bits in hexadecimal."""
    return f"{prefix}_{os.urandom(16).hex()}"

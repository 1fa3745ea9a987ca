"""The one kind of failure that this package means to tell its user."""

from __future__ import annotations


class LocalError(Exception):
    """What is wrong and what mends it, in one line."""

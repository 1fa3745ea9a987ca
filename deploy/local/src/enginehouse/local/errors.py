"""The error that this package reports to its user."""

from __future__ import annotations


class LocalError(Exception):
    """A fault and its fix, in one line."""

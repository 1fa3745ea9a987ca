"""Raised figures: exponents."""

from __future__ import annotations

RAISED_SIGNS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
"""The raised digits and signs, inside a regular expression's brackets."""
RAISED = r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9}"
"""A regular expression for a raised number."""
_PLAIN = str.maketrans(RAISED_SIGNS, "0123456789-+")


def unraised(text: str) -> str:
    """Return raised figures as plain ones, with "-" for minus."""
    return text.translate(_PLAIN)

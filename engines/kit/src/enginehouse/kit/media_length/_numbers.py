"""Whole numbers at a place in a file."""

from __future__ import annotations


def little(view: memoryview, at: int, size: int) -> int:
    """Return a little-endian number. Raises IndexError past the end."""
    if at < 0 or at + size > len(view):
        raise IndexError
    return int.from_bytes(view[at : at + size], "little")


def big(view: memoryview, at: int, size: int) -> int:
    """Return a big-endian number. Raises IndexError past the end."""
    if at < 0 or at + size > len(view):
        raise IndexError
    return int.from_bytes(view[at : at + size], "big")

"""Identifiers that are unique for ever without asking anybody."""

from __future__ import annotations

import os

_BYTES = 16
# Of one call to the system, which lets other threads go first: ids of 64 requests.
_DRAWN_BYTES = 64 * 2 * _BYTES


def new_id(prefix: str) -> str:
    """`prefix_` and 128 random bits in hexadecimal."""
    return f"{prefix}_{os.urandom(_BYTES).hex()}"


class IdPairs:
    """Makes such ids in pairs, of random bits that are drawn for many at once. For one thread of a process."""

    def __init__(self) -> None:
        self._drawn = ""
        self._used = 0

    def next(self, first: str, second: str) -> tuple[str, str]:
        """Two ids with these prefixes."""
        begin = self._used
        if begin == len(self._drawn):
            self._drawn, begin = os.urandom(_DRAWN_BYTES).hex(), 0
        middle, self._used = begin + 2 * _BYTES, begin + 4 * _BYTES
        drawn = self._drawn
        return f"{first}_{drawn[begin:middle]}", f"{second}_{drawn[middle : self._used]}"

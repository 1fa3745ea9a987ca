"""Counters in a memory-mapped file: a count is recorded at once, without a system call.

A store into the map survives the death of the process, so a meter can count every token before it is sent.
Each call holds a slot of 32 64-bit integers: the call's reference first, then the meter's counters (one for each unit
by its number, then those of units that only have names), and the milliseconds to the first output last.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from pathlib import Path

from enginehouse.kit.usage.meter import COUNTERS

WORDS = 32
FIRST_OUTPUT = WORDS - 1
_SLOT_BYTES = WORDS * 8
_SLOTS = 4096
_FILE_BYTES = _SLOTS * _SLOT_BYTES
_NOTHING_COUNTED = memoryview(bytes(_SLOT_BYTES - 8)).cast("q")
assert COUNTERS < WORDS


class CounterFile:
    """The slots of one spool directory; more files are added when all slots are in use.

    Args:
        directory: the folder of the files.

    Raises:
        OSError: they cannot be created or mapped.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptors: list[int] = []
        self._maps: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        # First in, first out: a count stays in its slot until long after its call's end is recorded and synced.
        self._free: deque[int] = deque()
        while self._path(len(self._maps)).exists() or not self._maps:
            self._add_file()

    def read(self, slot: int, reference: int) -> list[int] | None:
        """Return the words of a slot, if it holds that reference."""
        if slot // _SLOTS >= len(self._maps):
            return None
        words = list(self._words(slot))
        return words if words[0] == reference else None

    def take(self, reference: int) -> tuple[int, memoryview]:
        """Return a slot for the call of that reference, with all counts zero, and its words.

        Raises:
            OSError: all slots are in use and no file can be added.
        """
        if not self._free:
            self._add_file()
        slot = self._free.popleft()
        words = self._words(slot)
        words[1:] = _NOTHING_COUNTED
        words[0] = reference
        return slot, words

    def give_back(self, slot: int) -> None:
        """Free a slot for another call."""
        self._free.append(slot)

    def sync(self) -> None:
        """Wait until the counts are on the disk."""
        for descriptor in self._descriptors:
            os.fdatasync(descriptor)

    def close(self) -> None:
        """Close the files; views that are still in use keep their map alive."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self._views.clear()
        self._maps.clear()

    def _path(self, index: int) -> Path:
        return self._directory / f"counters-{index}"

    def _words(self, slot: int) -> memoryview:
        start = slot % _SLOTS * WORDS
        return self._views[slot // _SLOTS][start : start + WORDS]

    def _add_file(self) -> None:
        path = self._path(len(self._maps))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Written, not sparse: a store into a hole on a full disk would kill the process.
            missing = _FILE_BYTES - os.fstat(descriptor).st_size
            if missing > 0:
                written = os.pwrite(descriptor, b"\0" * missing, _FILE_BYTES - missing)
                if written != missing:
                    raise OSError(28, "no space left for the spool's counters")
            mapped = mmap.mmap(descriptor, _FILE_BYTES)
        except OSError:
            os.close(descriptor)
            raise
        first = len(self._maps) * _SLOTS
        self._descriptors.append(descriptor)
        self._maps.append(mapped)
        self._views.append(memoryview(mapped).cast("q"))
        self._free.extend(range(first, first + _SLOTS))

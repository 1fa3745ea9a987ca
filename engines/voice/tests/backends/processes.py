"""Find the processes that the backends start."""

from __future__ import annotations

import asyncio
from pathlib import Path


def children_of(pid: int, command: str = "") -> list[int]:
    """Return the live children of all threads of a process whose command line has the word."""
    found = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            candidates = [int(child) for child in listed.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [child for child in candidates if command in _command(child) and _lives(child)]
    return sorted(found)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    while _lives(pid):
        await asyncio.sleep(0.01)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"

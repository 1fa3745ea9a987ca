"""The synchronous Python client is the one that is generated from the asyncio one."""

from __future__ import annotations

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path("clients/python/unasync.py")


def complaints(root: pathlib.Path) -> list[str]:
    """Name each generated module that is missing, out of date or left over."""
    command = [sys.executable, str(root / SCRIPT), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stderr.strip().splitlines() if ran.returncode else []

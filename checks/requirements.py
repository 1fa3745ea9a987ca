"""The hashed requirements files were resolved from what the distributions say now."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def complaints(root: pathlib.Path) -> list[str]:
    """Name each file that is absent or stale."""
    command = [sys.executable, str(root / "requirements" / "compile.py"), "--root", str(root), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stderr.strip().splitlines() if ran.returncode else []

"""Shell scripts parse, and start with the options that make them stop at the first failure or say why not."""

from __future__ import annotations

import pathlib
import subprocess

from checks.tree import source_files, text_of


def complaints(root: pathlib.Path) -> list[str]:
    """Name each shell script that bash cannot parse, that cannot be run, or that runs on after failures."""
    found = []
    for path in source_files(root):
        text = text_of(root / path)
        if text is None or not text.startswith("#!") or "sh" not in text.splitlines()[0]:
            continue
        parsed = subprocess.run(["bash", "-n", str(root / path)], capture_output=True, text=True, check=False)
        if parsed.returncode:
            found.append(f"{path}: {parsed.stderr.strip()}")
        if not (root / path).stat().st_mode & 0o111:
            found.append(f"{path}: has a #! line but is not executable; chmod +x it")
        if "\nset -" not in text:
            found.append(f"{path}: says nothing of failures; begin with `set -euo pipefail`")
    return found

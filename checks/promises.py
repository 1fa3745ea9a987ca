"""Every test that docs/ARCHITECTURE.md names as the holder of an invariant exists."""

from __future__ import annotations

import pathlib
import re

PAGE = pathlib.Path("docs/ARCHITECTURE.md")
_NAMED = re.compile(r"`([\w/.-]*)::(test_\w+)`")
_FILE = re.compile(r"`([\w/.-]+/test_\w+\.py)`")


def complaints(root: pathlib.Path) -> list[str]:
    """Name each test that the page promises and the tree lacks."""
    page = root / PAGE
    if not page.exists():
        return []
    text = page.read_text()
    found = [
        f"{PAGE}: names {name}, which does not exist" for name in _FILE.findall(text) if not (root / name).is_file()
    ]
    last = ""
    for name, test in _NAMED.findall(text):
        # `::test` alone is of the file named before it.
        last = name or last
        path = root / last
        if not path.is_file() or not re.search(rf"def {test}\(|^{test} = ", path.read_text(), re.MULTILINE):
            found.append(f"{PAGE}: names {last}::{test}, which does not exist")
    return found

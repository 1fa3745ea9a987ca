"""The project is at home on every machine: no path of one machine, and no package registry's address, is committed."""

from __future__ import annotations

import pathlib
import re

from checks.tree import source_files, text_of

# Folders of somebody's machine. Written so that this file does not match itself.
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:home/(?!user\b)\w+|root\b(?!/?\.\.)|work\b|Users/\w+)(?:/|\b)")
# Hosts that packages are fetched from: which one is the machine's affair.
REGISTRIES = re.compile(
    r"(?:files\.pythonhosted|pypi\.python|pypi|test\.pypi)\.org|registry\.(?:npmjs\.org|yarnpkg\.com)|proxy\.golang\.org"
    r"|repo1?\.maven(?:\.apache\.org|\.org)|static\.crates\.io|index\.crates\.io|download\.pytorch\.org"
)


def complaints(root: pathlib.Path) -> list[str]:
    """Name each line that ties the project to a place."""
    found = []
    for path in source_files(root):
        text = text_of(root / path)
        if text is None or path.parts[0] == "checks":
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if match := MACHINE_PATHS.search(line):
                found.append(f"{path}:{number}: {match[0]!r} is a path of one machine; make it relative or an argument")
            if match := REGISTRIES.search(line):
                found.append(f"{path}:{number}: {match[0]!r} is a package registry; leave it to the machine's settings")
    return found

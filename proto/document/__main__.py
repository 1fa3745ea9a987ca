"""The command that writes docs/openapi.json and docs/reference.md, or with --check compares them with the contracts."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tomllib

from .contracts import read_packages
from .openapi import document
from .reference import page

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> int:
    """Write or compare both documents and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=pathlib.Path, required=True, help="a descriptor set with source information")
    parser.add_argument("--docs", type=pathlib.Path, default=ROOT / "docs")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    packages = read_packages(arguments.image.read_bytes())
    version = tomllib.loads((ROOT / "proto" / "python" / "pyproject.toml").read_text())["project"]["version"]
    made = {
        "openapi.json": json.dumps(document(packages, version=version), indent=2, ensure_ascii=False) + "\n",
        "reference.md": page(packages),
    }
    stale = []
    for name, text in made.items():
        path = arguments.docs / name
        if arguments.check:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    for name in stale:
        print(f"docs/{name} differs from what the contracts give: run `make proto`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""Python: lint, format, and strict types, package by package."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tomllib

from checks.tree import is_generated

TOOLING = ("checks", "bench", "proto.document", "router.verification", "router.tests.harness")


def _lines(root: pathlib.Path, *command: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    if not ran.returncode:
        return []
    return [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()] or [f"{command[0]} failed"]


def packages(root: pathlib.Path) -> list[str]:
    """Return the import packages of the workspace's members, apart from generated ones."""
    members = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    markers = [marker for member in members for marker in sorted(root.glob(f"{member}/src/**/py.typed"))]
    return [
        ".".join(marker.relative_to(root).parent.parts).partition(".src.")[2]
        for marker in markers
        if not is_generated(marker.relative_to(root))
    ]


def lint(root: pathlib.Path) -> list[str]:
    """ruff's rules and its format."""
    return [
        *_lines(root, "ruff", "check", "--output-format", "concise", "."),
        *_lines(root, "ruff", "format", "--check", "--output-format", "concise", "."),
    ]


def types(root: pathlib.Path) -> list[str]:
    """mypy's strict rules over each distribution's package and over the tooling."""
    chosen = [argument for package in (*packages(root), *TOOLING) for argument in ("-p", package)]
    scripts = ["requirements/compile.py", "requirements/install_weights.py", "clients/python/unasync.py"]
    return [*_lines(root, "mypy", *chosen), *_lines(root, "mypy", *scripts)]


def complaints(root: pathlib.Path) -> list[str]:
    """Everything that ruff and mypy say."""
    return [*lint(root), *types(root)]

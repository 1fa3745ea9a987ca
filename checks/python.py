"""Python: lint, format, and strict types, package by package."""

from __future__ import annotations

import pathlib
import subprocess
import sys

PACKAGES = ("kit", "engines.inference", "engines.voice", "router", "gateway", "client", "cli", "local")
TOOLING = ("checks", "bench", "proto.document", "router.verification", "router.tests.harness")


def _lines(root: pathlib.Path, *command: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    if not ran.returncode:
        return []
    return [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()] or [f"{command[0]} failed"]


def lint(root: pathlib.Path) -> list[str]:
    """ruff's rules and its format."""
    return [
        *_lines(root, "ruff", "check", "--output-format", "concise", "."),
        *_lines(root, "ruff", "format", "--check", "--output-format", "concise", "."),
    ]


def types(root: pathlib.Path) -> list[str]:
    """mypy's strict rules over each distribution's package and over the tooling."""
    named = [f"enginehouse.{package}" for package in PACKAGES]
    chosen = [argument for package in (*named, *TOOLING) for argument in ("-p", package)]
    scripts = ["requirements/compile.py", "clients/python/unasync.py"]
    return [*_lines(root, "mypy", *chosen), *_lines(root, "mypy", *scripts)]


def complaints(root: pathlib.Path) -> list[str]:
    """Everything that ruff and mypy say."""
    return [*lint(root), *types(root)]

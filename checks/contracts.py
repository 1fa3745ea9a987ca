"""The contracts: lint, no breaking change since the baseline, and everything made from them in step."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile


def _lines(command: list[str], root: pathlib.Path) -> list[str]:
    """The lines that a command prints when it fails; empty where it succeeds."""
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if not ran.returncode:
        return []
    return [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()] or [f"{command[0]} failed"]


def lint(image: pathlib.Path, root: pathlib.Path) -> list[str]:
    """buf's STANDARD and COMMENTS rules over an image with comments."""
    return _lines([_beside_us("buf"), "lint", str(image), "--config", "proto/buf.yaml"], root)


def breaking(image: pathlib.Path, root: pathlib.Path) -> list[str]:
    """buf's FILE rules against the contracts as last released."""
    command = [_beside_us("buf"), "breaking", str(image), "--against", "proto/baseline.binpb"]
    return _lines([*command, "--config", "proto/buf.yaml"], root)


def _beside_us(tool: str) -> str:
    """A tool of the environment that runs the checks, which need not be on PATH."""
    return str(pathlib.Path(sys.executable).with_name(tool))


def complaints(root: pathlib.Path) -> list[str]:
    """Everything wrong with the contracts or out of step with them."""
    generators = str(root / ".venv-proto" / "bin" / "python")
    with tempfile.TemporaryDirectory() as scratch:
        image = pathlib.Path(scratch) / "image.binpb"
        if broken := _lines([generators, "proto/generate.py", "--image", str(image)], root):
            return broken
        return [
            *lint(image, root),
            *breaking(image, root),
            *_lines([generators, "proto/generate.py", "--check"], root),
            *_lines([sys.executable, "-m", "proto.document", "--image", str(image), "--check"], root),
        ]

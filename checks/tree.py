"""The files that the rules are about."""

from __future__ import annotations

import ast
import functools
import pathlib
import subprocess

# Made by tools from something that is checked itself.
GENERATED = ("proto/python/src/", "docs/reference.md", "docs/openapi.json", "requirements/")
# Stubs of contracts, wherever an engine keeps them.
STUBS = ("_pb2.py", "_pb2_grpc.py")


def source_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Every file of the project, tracked or new but not ignored, relative to `root`, in order."""
    listed = subprocess.run(
        # Whose files they are does not matter for listing them.
        [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(root),
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ],
        check=True,
        capture_output=True,
    )
    names = {name for name in listed.stdout.decode().split("\0") if name}
    return [pathlib.Path(name) for name in sorted(names) if (root / name).is_file()]


def text_of(path: pathlib.Path) -> str | None:
    """The file's text, or None where it holds bytes that are not text."""
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def is_generated(path: pathlib.Path) -> bool:
    """Return whether a tool made the file at this path, relative to the root."""
    return path.as_posix().startswith(GENERATED) or path.name.endswith(STUBS)


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    """Parse a Python file, once for all checks of a run."""
    return ast.parse(text_of(path) or "")

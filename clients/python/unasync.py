"""Generate the synchronous client, `_sync/`, from the asyncio one, `_async/`.

Each substitution takes one asyncio construct to its synchronous counterpart; ruff then sorts the imports and formats.
`--check` writes nothing: it lists the generated files that are out of date, and exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys

PROJECT = pathlib.Path(__file__).parent
CLIENT = pathlib.Path("src/enginehouse/client")

# The modules that stream in both directions differ: asyncio has tasks and locks, the synchronous client a thread.
HANDWRITTEN = {"__init__.py", "bidi_call.py", "conversation.py", "request_stream.py", "streams.py"}

SUBSTITUTIONS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Sentences and names that differ.
        (r"Belongs to one event loop\.", "Safe to share between threads."),
        (r"\baio_channel\b", "channel"),
        (r"\basyncio\b", "time"),
        # Syntax and types.
        (r"\ban `async with\b", "a `with"),
        (r"\basync (?=(?:def|for|with)\b)", ""),
        (r"\bawait ", ""),
        (r"\b__a(?=enter__|exit__|iter__)", "__"),
        (r"\bAwaitable\[(\w+)\]", r"\1"),
        # Classes, of ours and of collections.abc, and the package.
        (r"\bAsync(?=[A-Z])", ""),
        (r"\b_async\b", "_sync"),
    )
]

HEADER = "# Generated from _async/{name} by clients/python/unasync.py (`make client`). Do not edit.\n"


def convert(source: str, *, name: str, path: pathlib.Path) -> str:
    """Return the synchronous form of a module.

    Args:
        source: the asyncio module.
        name: its file's name.
        path: where the result is to be; ruff finds its configuration by it.
    """
    for pattern, replacement in SUBSTITUTIONS:
        source = pattern.sub(replacement, source)
    source = HEADER.format(name=name) + source
    # Without await, some imports are unused and out of order, and a loop that only yields is `yield from`.
    source = _ruff("check", "--fix-only", "--unsafe-fixes", "--select", "I,F401,UP028", source=source, path=path)
    return _ruff("format", source=source, path=path)


def generate() -> dict[pathlib.Path, str]:
    """Return the generated files by path."""
    files = {}
    for path in sorted((PROJECT / CLIENT / "_async").glob("*.py")):
        if path.name not in HANDWRITTEN:
            target = path.parents[1] / "_sync" / path.name
            files[target] = convert(path.read_text(), name=path.name, path=target)
    return files


def stale(files: dict[pathlib.Path, str]) -> list[pathlib.Path]:
    """Return the files that are missing, out of date or left over from a module that is gone."""
    found = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    present = (PROJECT / CLIENT / "_sync").glob("*.py")
    return sorted([*found, *(path for path in present if path.name not in HANDWRITTEN and path not in files)])


def _ruff(*arguments: str, source: str, path: pathlib.Path) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Write the generated files, or check them."""
    parser = argparse.ArgumentParser(description="Generate the synchronous client from the asyncio one.")
    parser.add_argument("--check", action="store_true", help="list the stale files, and change none")
    arguments = parser.parse_args()
    files = generate()
    changed = stale(files)
    for path in changed:
        if arguments.check:
            print(f"{path.relative_to(PROJECT)} is out of date: run `make client`", file=sys.stderr)
        elif path in files:
            path.write_text(files[path])
        else:
            path.unlink()
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Joining of a file from its parts: it appears whole and verified, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


class JoinError(Exception):
    """A file that could not be joined; the message has the fault and the fix."""


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part on this machine, its expected hash, and the command that installs it again."""

    path: Path
    sha256: str
    fix: str


def join(target: Path, parts: Sequence[PartFile], *, sha256: str) -> None:
    """Write the parts into `target`, one after the other.

    The caller holds the folder's `alone`.

    Raises:
        JoinError: a part is missing or not the expected one, the result is not, or it cannot be written, such as for
            lack of space. Nothing is left behind.
    """
    needed = sum(_size(part) for part in parts)
    where = f"{target.name} ({needed} bytes) in {target.parent}"
    fix = "free as many bytes there, or set models_dir to a folder that has them"
    # A process that was killed may have left it; nobody else writes it now.
    temporary = target.with_name(f".{target.name}.joining")
    with contextlib.suppress(OSError):
        temporary.unlink()
    try:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise JoinError(f"no space to join {where}: {free} bytes are free; {fix}")
        try:
            _write(temporary, parts, sha256, target.name)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise JoinError(f"cannot join {where}: {error.strerror or error}; {fix}") from None


def _write(path: Path, parts: Sequence[PartFile], sha256: str, name: str) -> None:
    whole = hashlib.sha256()
    with path.open("wb") as output:
        for part in parts:
            digest = hashlib.sha256()
            for block in _blocks(part):
                digest.update(block)
                whole.update(block)
                output.write(block)
            if digest.hexdigest() != part.sha256:
                raise JoinError(f"{part.path} has the SHA-256 {digest.hexdigest()}, not {part.sha256}; {part.fix}")
        if whole.hexdigest() != sha256:
            raise JoinError(
                f"{name} has the SHA-256 {whole.hexdigest()} once joined, not {sha256}; its table of parts is wrong: "
                "install a release of Enginehouse whose table is right"
            )
        output.flush()
        os.fsync(output.fileno())


def _blocks(part: PartFile) -> Iterator[bytes]:
    try:
        with part.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise JoinError(f"{part.path} cannot be read: {error.strerror}; {part.fix}") from None


def _size(part: PartFile) -> int:
    try:
        return part.path.stat().st_size
    except OSError as error:
        raise JoinError(f"{part.path} cannot be read: {error.strerror}; {part.fix}") from None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which other processes and threads wait for; create the folder. Raise OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        # Freed by the system if this process dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""Verification of files by their SHA-256, once for each content, over restarts too."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A hash, and what must not have changed for it to hold still."""

    sha256: str
    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, sha256: str, status: os.stat_result) -> _Mark:
        return cls(sha256=sha256, size=status.st_size, modified_ns=status.st_mtime_ns, inode=status.st_ino)


class VerifiedFiles:
    """The files whose hashes are known, by path.

    Args:
        record: the file that keeps them over restarts; need not exist. Without a place to write it, files are hashed
            once in each process.
    """

    def __init__(self, *, record: Path) -> None:
        self._record = record
        self._marks: dict[str, _Mark] = {}

    def sha256(self, path: Path) -> str:
        """Return a file's hash; read the file only if it is new or has changed. Raise OSError."""
        mark = self._marks.get(str(path)) or self._recorded().get(str(path))
        if mark is not None and mark == _Mark.of(mark.sha256, path.stat()):
            self._marks[str(path)] = mark
            return mark.sha256
        with path.open("rb") as file:
            # Looked at before it is read: a write in between makes the mark void.
            status = os.fstat(file.fileno())
            found = hashlib.file_digest(file, "sha256").hexdigest()
        self._keep(path, _Mark.of(found, status))
        return found

    def note(self, path: Path, sha256: str) -> None:
        """Take over the hash of a file that was just written."""
        self._keep(path, _Mark.of(sha256, path.stat()))

    def _keep(self, path: Path, mark: _Mark) -> None:
        self._marks[str(path)] = mark
        marks = self._recorded() | {str(path): mark}
        text = json.dumps({name: asdict(known) for name, known in marks.items()}, indent=1)
        try:
            self._record.parent.mkdir(parents=True, exist_ok=True)
            _replace(self._record, text + "\n")
        except OSError as error:
            _log.info("%s cannot be written (%s); the next start hashes the files again", self._record, error.strerror)

    def _recorded(self) -> dict[str, _Mark]:
        try:
            document: dict[str, dict[str, Any]] = json.loads(self._record.read_text(encoding="utf-8"))
            return {path: _Mark(**mark) for path, mark in document.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise

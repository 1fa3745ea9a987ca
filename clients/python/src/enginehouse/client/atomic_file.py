"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from enginehouse.client.wav import HEADER_BYTES, length_patches


class AtomicFile:
    """A file that is written under a temporary name beside its path, and renamed when it is complete.

    A failure leaves nothing behind. A path that is not a regular file, such as a pipe or /dev/stdout, is written to
    directly. A WAV header of unknown length gets the true one.

    Args:
        path: where the file is to be; an existing file is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A symbolic link stays one; the file that it points to is replaced.
        self._path = Path(os.path.realpath(path))
        self._part: Path | None = None
        self._file: BinaryIO | None = None
        self._head = b""
        self.size = 0
        """Bytes written so far."""

    def open(self) -> None:
        """Create the temporary file. Raise OSError if that is impossible or an existing file may not be replaced."""
        try:
            existing = self._path.stat()
        except FileNotFoundError:
            existing = None
        if existing is not None and stat.S_ISDIR(existing.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        if existing is not None and not stat.S_ISREG(existing.st_mode):
            self._file = self._path.open("wb")
            return
        if existing is not None and not os.access(self._path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self._path))
        part = self._path.with_name(f".{secrets.token_hex(8)}.part")
        with self._errors_naming_path():
            self._file = part.open("xb")
        self._part = part
        if existing is not None:
            part.chmod(stat.S_IMODE(existing.st_mode))

    def write(self, data: bytes) -> None:
        """Append bytes. Raise OSError if they cannot be written."""
        with self._errors_naming_path():
            self._opened().write(data)
        if len(self._head) < HEADER_BYTES:
            self._head += data[: HEADER_BYTES - len(self._head)]
        self.size += len(data)

    def commit(self) -> None:
        """Move the file to its path. Raise OSError if that is impossible."""
        file = self._opened()
        with self._errors_naming_path():
            if self._part is not None:
                for offset, value in length_patches(self._head, self.size):
                    file.seek(offset)
                    file.write(value)
            file.close()
            if self._part is not None:
                self._part.replace(self._path)
                self._part = None

    def discard(self) -> None:
        """Delete the temporary file, unless it was committed."""
        if self._file is not None:
            # Bytes that could not be flushed are of no interest any more.
            with contextlib.suppress(OSError):
                self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()

    @contextlib.contextmanager
    def _errors_naming_path(self) -> Iterator[None]:
        """Raise errors with the path that the caller knows, not the temporary one."""
        try:
            yield
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self._path)) from None

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError(f"{self._path} is not open: call open() first")
        return self._file

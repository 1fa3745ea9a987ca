"""Append-only files of checksummed records, which the spool consists of.

A segment's space is allocated when it is created, so a record that fits never fails because the disk is full. A segment
is a sequence of `length, CRC-32, payload`; it ends at the first length of zero or the first wrong checksum. The first
record names the format and the engine.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_FRAME = struct.Struct("<II")
_MAGIC = b"enginehouse-spool-1\n"
SUFFIX = ".log"


class SpoolError(Exception):
    """The spool cannot be used; the message names the directory and the fix."""


def framed(payload: bytes) -> bytes:
    """Return a record as it is written to the file."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


class SegmentWriter:
    """A new segment, open for appending.

    Args:
        path: the file, which must not exist.
        engine_id: the engine whose records it holds.
        size: its size in bytes, all allocated at once.

    Raises:
        OSError: it cannot be created; nothing is left behind.
    """

    def __init__(self, *, path: Path, engine_id: str, size: int) -> None:
        self.path = path
        self.size = size
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._end = 0
        try:
            os.posix_fallocate(self._descriptor, 0, size)
            self.append(framed(_MAGIC + engine_id.encode()))
        except OSError:
            os.close(self._descriptor)
            path.unlink(missing_ok=True)
            raise

    @property
    def free(self) -> int:
        """The bytes left."""
        return self.size - self._end

    def append(self, record: bytes) -> None:
        """Write a framed record, which then survives the process (and, once synced, a power cut).

        Raises:
            OSError: it could not be written whole; the next append overwrites the part that was.
        """
        if len(record) > self.free:
            raise OSError(
                errno.ENOSPC, f"segment {self.path.name} is full: {self.free} bytes left, {len(record)} needed"
            )
        written = os.pwrite(self._descriptor, record, self._end)
        if written != len(record):
            raise OSError(errno.ENOSPC, f"only {written} of {len(record)} bytes could be written")
        self._end += written

    def sync(self) -> None:
        """Wait until everything appended is on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file and free its unused space."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, self._end)
            self.size = self._end
            os.close(self._descriptor)
            self._descriptor = -1


def read_segment(path: Path) -> tuple[str, Iterator[bytes]] | None:
    """Return the engine id and the records of a segment; None if not even its first record was written whole.

    Raises:
        SpoolError: it cannot be read, or is not a segment of this version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpoolError(f"{path}: cannot be read: {error.strerror}") from error
    records = _records(data)
    head = next(records, None)
    if head is None:
        return None
    if not head.startswith(_MAGIC):
        raise SpoolError(
            f"{path}: not a spool file of this version; move it away once the version that wrote it has reported it"
        )
    return head[len(_MAGIC) :].decode(), records


def _records(data: bytes) -> Iterator[bytes]:
    offset = 0
    while offset + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, offset)
        offset += _FRAME.size
        payload = data[offset : offset + length]
        if length == 0 or len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield payload
        offset += length

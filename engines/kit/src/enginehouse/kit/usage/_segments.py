"""Append-only files of checksummed records: what the spool is made of.

A segment's space is allocated when it is made, so a record that fits never fails for a full disk. It is a sequence of
`length, CRC-32, payload`; the first length of zero, or the first record whose checksum does not hold, is its end. The
first record names the format and the engine.
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
    """The spool cannot be used; the text names the directory and the fix."""


def framed(payload: bytes) -> bytes:
    """A record as it lies in the file."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


class SegmentWriter:
    """A new segment, open for appending.

    Args:
        path: the file, which must not exist.
        engine_id: whose records it holds.
        size: its size in bytes, all allocated now.

    Raises:
        OSError: it cannot be made; nothing is left behind.
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
        """Bytes left."""
        return self.size - self._end

    def append(self, record: bytes) -> None:
        """Writes a framed record, which then outlives the process (and, once synced, the machine).

        Raises:
            OSError: it could not be written whole; the next append overwrites what was.
        """
        if len(record) > self.free:
            raise OSError(
                errno.ENOSPC, f"segment {self.path.name} has {self.free} bytes left, {len(record)} are needed"
            )
        written = os.pwrite(self._descriptor, record, self._end)
        if written != len(record):
            raise OSError(errno.ENOSPC, f"only {written} of {len(record)} bytes could be written")
        self._end += written

    def sync(self) -> None:
        """Waits until what was appended lies on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Closes the file and gives back what of it is unused."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, self._end)
            self.size = self._end
            os.close(self._descriptor)
            self._descriptor = -1


def read_segment(path: Path) -> tuple[str, Iterator[bytes]] | None:
    """The engine id and the records of a segment; None if not even its first record was written whole.

    Raises:
        SpoolError: it cannot be read, or is no segment of this version.
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
            f"{path}: is not a spool file of this version; move it away once the version that wrote it has reported it"
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

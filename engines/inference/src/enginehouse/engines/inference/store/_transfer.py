"""Fetching of a file with resumption: partial content is kept, and only a whole file with its checksum is delivered."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from enginehouse.engines.inference.store._hub import Remote
from enginehouse.engines.inference.store.errors import StoreError

_BLOCK = 1 << 20
_MAX_FAILURES = 5
_MAX_WAIT_S = 16.0
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class PullProgress:
    """The progress of a transfer."""

    file: str
    """The file's name."""
    done_bytes: int
    total_bytes: int


class _BrokenOffError(Exception):
    """A connection that failed or ended early; the rest can be fetched later."""


def checksum_of(path: Path, *, like: str) -> str:
    """Return the file's checksum of the same kind as `like`: SHA-256, or git's SHA-1 of a blob."""
    digest = hashlib.sha256() if len(like) == 64 else _git_digest(path.stat().st_size)
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fetch(
    remote: Remote,
    target: Path,
    *,
    progress: Callable[[PullProgress], None],
    first_wait_s: float = 1.0,
) -> None:
    """Fetch `remote` to `target`, which appears whole and verified or not at all.

    An interrupted fetch leaves `.NAME.CHECKSUM.part` beside it, from which the next one goes on. Failures of the
    network are retried, up to five times without a byte between them.

    Raises:
        StoreError: there is no disk space; the checksum is wrong (nothing is left behind); the transfer keeps failing;
            another command fetches the same file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{remote.checksum[:16]}.part")
    with _alone(partial) as file:
        have = file.seek(0, os.SEEK_END)
        if have > remote.size_bytes:
            have = file.truncate(0)
        _require_space(target.parent, remote.size_bytes - have)
        failures = 0
        while True:
            before = file.seek(0, os.SEEK_END)
            progress(PullProgress(target.name, before, remote.size_bytes))
            if before == remote.size_bytes:
                break
            try:
                _receive(remote, file, before, target.name, progress)
            except _BrokenOffError as error:
                failures = 0 if file.seek(0, os.SEEK_END) > before else failures + 1
                if failures == _MAX_FAILURES:
                    raise StoreError(
                        f"cannot fetch {target.name}: {error}; the part that arrived is kept, run the command again"
                    ) from None
                time.sleep(min(_MAX_WAIT_S, first_wait_s * 2**failures))
        file.flush()
        os.fsync(file.fileno())
        found = checksum_of(partial, like=remote.checksum)
        if found != remote.checksum:
            partial.unlink()
            raise StoreError(
                f"{target.name} arrived damaged: its checksum is {found}, and the hub's {remote.checksum}; it was "
                "deleted, run the command again"
            )
        partial.replace(target)
    for stale in target.parent.glob(f".{target.name}.*.part"):
        stale.unlink(missing_ok=True)


def _receive(remote: Remote, file: BinaryIO, have: int, name: str, progress: Callable[[PullProgress], None]) -> None:
    headers = dict(remote.headers) | {"accept-encoding": "identity"}
    if have:
        headers["range"] = f"bytes={have}-"
    timeout = httpx.Timeout(30.0, connect=10.0)
    try:
        # The token is only sent to the hub: httpx drops it on a redirect to another host.
        with httpx.stream("GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            if response.status_code in _RETRYABLE:
                raise _BrokenOffError(f"the hub answered HTTP {response.status_code}")
            if have and response.status_code in (httpx.codes.OK, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
                # The server has no ranges, so the content starts again.
                have = 0
                file.truncate(0)
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _BrokenOffError("the server cannot resume the transfer")
            if response.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise StoreError(f"cannot fetch {name}: the hub answered HTTP {response.status_code}")
            file.seek(have)
            for block in response.iter_raw():
                have += len(block)
                if have > remote.size_bytes:
                    file.truncate(0)
                    raise StoreError(f"{name} is longer than the {remote.size_bytes} bytes that the hub states")
                file.write(block)
                progress(PullProgress(name, have, remote.size_bytes))
    except httpx.TransportError as error:
        raise _BrokenOffError(f"the connection failed ({type(error).__name__})") from None
    if have < remote.size_bytes:
        raise _BrokenOffError(f"the connection ended after {have} of {remote.size_bytes} bytes")


@contextmanager
def _alone(partial: Path) -> Iterator[BinaryIO]:
    with partial.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another command is fetching this file right now (it holds {partial})") from None
        yield file


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StoreError(f"{folder} has {free} bytes free, and {size} are needed; free some, or change models_dir")


def _git_digest(size: int) -> hashlib._Hash:
    # Git's hash of a file's content identifies it; it protects nothing.
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

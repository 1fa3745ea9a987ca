"""The data directory: its contents, its creation, and the checks that it can be used.

DATA/enginehouse.json   marks a data directory: its layout, and whether it is complete
DATA/lock               held by the running supervisor
DATA/dev.env            the public URL and a key, for shells (0600)
DATA/catalog.yaml       the models, for the user to edit
DATA/secrets/           grant keys, key pepper, database password (0600)
DATA/postgres/          the database cluster
DATA/models/            weights that were pulled
DATA/NAME/              data of one kind of engine; the engine's spec gives the name
DATA/spool/ENGINE/      usage that an engine has not reported yet
DATA/logs/NAME.log      the logs of the processes
DATA/run/               configuration, catalog and state of the last start; overwritten by each start
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import psutil

from enginehouse.kit.config import ConfigError
from enginehouse.kit.grants import GrantKeys
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError
from enginehouse.local.pids import find_process, process_start_id

LAYOUT = 1
MIN_FREE_BYTES = 256 * 1024 * 1024
DEFAULT = Path(".local") / "enginehouse"
_MARKER = "enginehouse.json"


class DataDirectory:
    """A data directory, which need not exist yet. Nothing is written before `prepare`.

    Args:
        root: its path.
        free_bytes: returns the free space at a path; replaced in tests of a full disk.
    """

    def __init__(
        self,
        root: Path,
        *,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.root = root.expanduser().absolute()
        self._free_bytes = free_bytes
        self.environment_file = self.root / "dev.env"
        self.catalog = self.root / "catalog.yaml"
        self.grant_keys = self.root / "secrets" / "grant-keys"
        self.key_pepper = self.root / "secrets" / "key-pepper"
        self.database_password = self.root / "secrets" / "database-password"
        self.postgres = self.root / "postgres"
        self.models = self.root / "models"
        self.spool = self.root / "spool"
        self.logs = self.root / "logs"
        self.run = self.root / "run"
        self.state = self.run / "state.json"
        self.served_catalog = self.run / "catalog.yaml"
        self.gateway_state = self.root / "gateway-state.json"

    @property
    def exists(self) -> bool:
        """True if this is a data directory, complete or not."""
        return (self.root / _MARKER).is_file()

    def inspect(self) -> None:
        """Check that the directory can be used or created, without writing to it.

        Raises:
            LocalError: it is a file, belongs to another user or program, has another layout, is incomplete, or the disk
                is full.
        """
        nearest = self.root
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise LocalError(f"{nearest} is not a directory; choose another with --data")
        if not os.access(nearest, os.W_OK | os.X_OK) or os.statvfs(nearest).f_flag & os.ST_RDONLY:
            raise LocalError(f"{nearest} cannot be written to; choose another data directory with --data")
        free = self._free_bytes(nearest)
        if free < MIN_FREE_BYTES:
            raise LocalError(
                f"{nearest}: {free // 2**20} MiB free, and the mesh needs {MIN_FREE_BYTES // 2**20}; make room, or "
                "choose another disk with --data"
            )
        if not self.root.exists():
            return
        owner = self.root.stat().st_uid
        if owner != os.geteuid():
            raise LocalError(
                f"{self.root} belongs to user id {owner}, not to user id {os.geteuid()}; run as its owner, or "
                "choose another with --data"
            )
        if self.exists:
            self._inspect_marked()
        elif set(os.listdir(self.root)) - {"lock"}:
            raise LocalError(
                f"{self.root} is neither empty nor a data directory of Enginehouse (no {_MARKER}); choose another with "
                "--data"
            )

    def _inspect_marked(self) -> None:
        layout, complete = self._read_marker()
        if layout != LAYOUT:
            age = "an older" if layout < LAYOUT else "a newer"
            raise LocalError(
                f"{self.root} was created by {age} Enginehouse (layout {layout}, this one reads {LAYOUT}); use that "
                "version, or choose another directory with --data"
            )
        if not complete:
            return
        for path in (self.grant_keys, self.key_pepper, self.database_password, self.postgres / "PG_VERSION"):
            if not path.exists():
                raise LocalError(
                    f"{self.root} is incomplete: {path.relative_to(self.root)} is missing; restore it from a backup, "
                    "or choose another directory with --data"
                )

    def _read_marker(self) -> tuple[int, bool]:
        marker = self.root / _MARKER
        try:
            document = json.loads(marker.read_text(encoding="utf-8"))
            return int(document["layout"]), bool(document["whole"])
        except OSError as error:
            raise LocalError(f"{marker} cannot be read: {error.strerror}; restore its permissions") from error
        except (ValueError, KeyError, TypeError):
            raise LocalError(
                f"{marker} is damaged; restore it from a backup, or choose another directory with --data"
            ) from None

    def lock(self) -> IO[str]:
        """Lock the directory for this process until the returned file is closed. Create the directory if needed.

        Raises:
            LocalError: another supervisor holds the lock.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Closed by the caller, when the run ends.
            file = open(self.root / "lock", "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise LocalError(
                f"{self.root} cannot be written to: {error.strerror}; choose another with --data"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise LocalError(f"{self.root}/lock cannot be locked: {error.strerror}; use a local disk") from error
            raise LocalError(
                f"a mesh already runs on {self.root}; stop it with `enginehouse down --data {self.root}`"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {process_start_id(os.getpid())}\n")
        file.flush()
        return file

    def holder(self) -> psutil.Process | None:
        """Return the process that locked the directory last, if it still runs."""
        try:
            pid, _, start_id = (self.root / "lock").read_text(encoding="utf-8").strip().partition(" ")
            return find_process(int(pid), start_id)
        except (OSError, ValueError):
            return None

    @property
    def complete(self) -> bool:
        """True if an earlier start finished creating it."""
        return self.exists and self._read_marker()[1]

    def prepare(self, *, folders: Iterable[str] = ()) -> None:
        """Create everything that is missing, except for the database.

        A directory whose creation was interrupted is created anew: it has never held any data.

        Args:
            folders: the names of further folders, for the data of engines.

        Raises:
            LocalError: a file could not be written.
        """
        try:
            if not self.complete:
                for partial in (self.postgres, self.root / "secrets"):
                    shutil.rmtree(partial, ignore_errors=True)
                self._write_marker(complete=False)
            own = (self.root / "secrets", self.models, self.spool, self.logs, self.run)
            for folder in (*own, *(self.root / name for name in folders)):
                folder.mkdir(mode=0o700, exist_ok=True)
            if not self.complete:
                GrantKeys.generate(self.grant_keys)
                write_private(self.key_pepper, secrets.token_urlsafe(48) + "\n")
                write_private(self.database_password, secrets.token_urlsafe(32) + "\n")
            if not self.catalog.exists():
                replace_text(self.catalog, default_catalog(find_engines().values()), mode=0o644)
        except OSError as error:
            raise LocalError(f"{error.filename or self.root} cannot be written: {error.strerror}") from error
        except ConfigError as error:
            raise LocalError(str(error)) from error

    def prepare_catalog(self) -> None:
        """Create the directory with its catalog, before the first start or after it; the rest is left to `prepare`.

        Raises:
            LocalError: it cannot be used or created, or a file could not be written.
        """
        self.inspect()
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.exists:
                self._write_marker(complete=False)
            if not self.catalog.exists():
                replace_text(self.catalog, default_catalog(find_engines().values()), mode=0o644)
        except OSError as error:
            raise LocalError(f"{error.filename or self.root} cannot be written: {error.strerror}") from error

    def finish(self) -> None:
        """Mark the directory as complete. From now on, a missing part is a loss, not an interrupted creation."""
        if not self.complete:
            self._write_marker(complete=True)

    def _write_marker(self, *, complete: bool) -> None:
        text = json.dumps({"layout": LAYOUT, "whole": complete}) + "\n"
        replace_text(self.root / _MARKER, text, mode=0o644)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    replace_text(path, text, mode=0o600)


def replace_text(path: Path, text: str, *, mode: int) -> None:
    """Write a file atomically: no reader ever sees a part of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise

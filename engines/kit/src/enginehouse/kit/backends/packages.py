"""Weights that come as Python packages, as data: found, verified, and joined where a file lies in several packages.

A package's files are read and its code is never imported. A file that lies whole in one package is used where it is.
A file in parts is joined once, below the folder of models. The table of an engine pins all of them (`package_table`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from enginehouse.kit.backends._joining import JoinError, PartFile, alone, join
from enginehouse.kit.backends._verified_files import VerifiedFiles
from enginehouse.kit.backends.package_table import WeightsEntry, WeightsFile, WeightsPart
from enginehouse.kit.backends.sources import SourceError
from enginehouse.kit.nearest import did_you_mean

_log = logging.getLogger(__name__)


class PackagedWeightsError(Exception):
    """Weights of a package that are not here or not what they should be; the message has the fault and the fix."""


class PackagedWeights:
    """The weights that an engine knows to come as packages.

    Any number of threads and processes may use one folder of models.

    Args:
        table: the weights by name.
        models_dir: where joined files lie, as `models_dir/package/NAME/FILE`.
    """

    def __init__(self, *, table: Mapping[str, WeightsEntry], models_dir: Path) -> None:
        self._table = table
        self._models_dir = models_dir
        self._verified: dict[str, VerifiedFiles] = {}

    def file(self, name: str) -> Path:
        """Return the first file of the weights, with all their files verified and beside it.

        Raises as `folder` does.
        """
        return self.folder(name) / self._entry(name).files[0].name

    def folder(self, name: str) -> Path:
        """Return the folder of the weights, with all their files verified.

        Files are hashed when they are new or have changed, and joined when they were not; that takes a second for every
        few hundred megabytes.

        Raises:
            SourceError: the table has no weights of that name.
            PackagedWeightsError: a package is missing or of another version; a file's hash is not the expected one;
                a file cannot be joined.
        """
        entry = self._entry(name)
        if fault := _absent(entry):
            raise PackagedWeightsError(fault)
        target = self._models_dir / "package" / name
        verified = self._verified.setdefault(name, VerifiedFiles(record=target / ".verified.json"))
        whole = {file.name: _located(file.parts[0]) for file in entry.files if len(file.parts) == 1}
        for file in entry.files:
            if file.name in whole:
                _verify(whole[file.name], file, verified)
        folders = {path.parent for path in whole.values()}
        if len(whole) == len(entry.files) and len(folders) == 1 and all(p.name == n for n, p in whole.items()):
            return folders.pop()
        try:
            with alone(target):
                for file in entry.files:
                    if file.name in whole:
                        _link(target / file.name, whole[file.name])
                    elif not _is_joined(target / file.name, file, verified):
                        _join(target / file.name, file, verified)
        except JoinError as error:
            raise PackagedWeightsError(str(error)) from None
        except OSError as error:
            raise PackagedWeightsError(
                f"{target} cannot be written: {error.strerror or error}; make it writable, or set models_dir to a "
                "folder that is"
            ) from None
        return target

    def absent(self, name: str) -> str:
        """Return the fault and the fix if a package of the weights is not installed; empty if all are.

        Reads no file of weights.

        Raises:
            SourceError: the table has no weights of that name.
        """
        return _absent(self._entry(name))

    def hashes(self, name: str) -> Mapping[str, str]:
        """Return the SHA-256 of each file of the weights, as the table has it; raise SourceError."""
        return {file.name: file.sha256 for file in self._entry(name).files}

    def _entry(self, name: str) -> WeightsEntry:
        entry = self._table.get(name)
        if entry is None:
            hint = did_you_mean(name, self._table, count=3, list_known=True)
            raise SourceError(f"source 'package:{name}' is not known to hold weights{hint}")
        return entry


def _absent(entry: WeightsEntry) -> str:
    missing, others, wanted = [], [], []
    for part in {part.package: part for part in entry.parts}.values():
        installed = _installed_version(part.package)
        if installed == part.version:
            continue
        wanted.append(part.requirement)
        if installed is None:
            missing.append(part.package)
        else:
            others.append(f"package {part.package} has version {installed}, not {part.version}")
    if not wanted:
        return ""
    if len(missing) == 1:
        others.insert(0, f"package {missing[0]} is not installed")
    elif missing:
        others.insert(0, f"packages {', '.join(missing)} are not installed")
    return f"{', '.join(others)}; install {'it' if len(wanted) == 1 else 'them'} with: {_install(wanted)}"


def _install(wanted: Sequence[str], *, again: bool = False) -> str:
    return f"pip install {'--force-reinstall ' if again else ''}--no-deps {' '.join(wanted)}"


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _located(part: WeightsPart) -> Path:
    return Path(str(metadata.distribution(part.package).locate_file(part.path)))


def _reinstall(part: WeightsPart) -> str:
    return f"install the package again with: {_install([part.requirement], again=True)}"


def _verify(path: Path, file: WeightsFile, verified: VerifiedFiles) -> None:
    part = file.parts[0]
    try:
        found = verified.sha256(path)
    except OSError as error:
        raise PackagedWeightsError(f"{path} cannot be read: {error.strerror}; {_reinstall(part)}") from None
    if found != file.sha256:
        raise PackagedWeightsError(f"{path} has the SHA-256 {found}, not {file.sha256}; {_reinstall(part)}")


def _is_joined(path: Path, file: WeightsFile, verified: VerifiedFiles) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if verified.sha256(path) == file.sha256:
        return True
    _log.warning("%s has changed; joining it again from its packages", path)
    return False


def _join(path: Path, file: WeightsFile, verified: VerifiedFiles) -> None:
    parts = [PartFile(_located(part), part.sha256 or file.sha256, _reinstall(part)) for part in file.parts]
    join(path, parts, sha256=file.sha256)
    verified.note(path, file.sha256)


def _link(path: Path, target: Path) -> None:
    """Make `path` lead to the target, without a moment at which it leads nowhere."""
    if path.is_symlink() and Path(os.readlink(path)) == target:
        return
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)

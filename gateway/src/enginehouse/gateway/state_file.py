"""The state file: the registry's last state, so that a restart of the gateway changes nothing for clients."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from google.protobuf import json_format

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.gateway.registry import RegistryState
from enginehouse.kit.config import ConfigError

_VERSION = 1


class StateFile:
    """The file, read and written whole or not at all."""

    def __init__(self, *, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Check at start that the state can be written later.

        Raises:
            ConfigError: the folder cannot be made or written to.
        """
        probe = self._path.with_name(self._path.name + ".probe")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"gateway.state_file: {self._path.parent} cannot be written to: {error.strerror}; make it writable or "
                "name another file"
            ) from error

    def read(self) -> RegistryState | None:
        """Return the state, or None where no gateway has written one.

        Raises:
            ValueError: the file is there and holds something else, which the message names.
        """
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            document = json.loads(raw)
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']!r} is not {_VERSION}")
            engines = [json_format.ParseDict(entry, registry_pb2.Engine()) for entry in document["engines"]]
            services = {str(name): str(cluster) for name, cluster in document["services"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, json_format.ParseError) as error:
            raise ValueError(f"{self._path}: is not a gateway's state: {error}") from error
        return RegistryState(engines={engine.engine_id: engine for engine in engines}, services=services)

    def set_aside(self) -> Path:
        """Move a file that cannot be read out of the way and return its new path."""
        aside = self._path.with_name(self._path.name + ".unreadable")
        os.replace(self._path, aside)
        return aside

    def write(self, state: RegistryState) -> None:
        """Replace the state. A crash at any point leaves the old or the new one.

        Raises:
            OSError: it cannot be written; the old state is still there.
        """
        document = {
            "version": _VERSION,
            "engines": [json_format.MessageToDict(engine) for _, engine in sorted(state.engines.items())],
            "services": dict(sorted(state.services.items())),
        }
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise

"""State of a running mesh: written by the supervisor, read by other processes."""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any

from enginehouse.local.datadir import replace_text


class Phase(enum.StrEnum):
    """Phase of a mesh's life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Condition(enum.StrEnum):
    """Condition of a process."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclasses.dataclass(slots=True, kw_only=True)
class ProcessState:
    """State of a process.

    Attributes:
        name: such as `router`, or `KIND-1` for an engine.
        condition: its present condition.
        pid: its pid; 0 if it does not run.
        start_id: identifies the process together with the pid; see `pids.process_start_id`.
        started_at: the time of its start, in seconds since 1970.
        restarts: the number of restarts after it had ended unexpectedly.
        since: the time when the condition began, in seconds since 1970.
        note: the reason of its condition, such as how it ended last.
        log: the path of its log file.
        stop_signal: the signal that stops it in order.
    """

    name: str
    condition: Condition = Condition.WAITING
    pid: int = 0
    start_id: str = ""
    started_at: float = 0.0
    restarts: int = 0
    since: float = 0.0
    note: str = ""
    log: str = ""
    stop_signal: int = 15


@dataclasses.dataclass(slots=True, kw_only=True)
class MeshState:
    """State of a mesh.

    Attributes:
        phase: its present phase.
        data: the data directory.
        url: the public URL.
        pid: the supervisor's pid.
        start_id: identifies the supervisor together with the pid.
        started_at: the time when the start began, in seconds since 1970.
        ready_after_s: seconds from then until the mesh was ready; 0 before.
        error: the reason why the start failed.
        notices: messages to the user.
        absent_weights: models that are not served because their weights are not installed, with the fault and the fix.
        catalog: the path of the catalog file; the mesh serves a copy of it, made at the start.
        endpoints: addresses by name.
        processes: in the order of their start.
    """

    phase: Phase
    data: str
    url: str
    pid: int
    start_id: str
    started_at: float
    ready_after_s: float = 0.0
    error: str = ""
    notices: list[str] = dataclasses.field(default_factory=list)
    absent_weights: dict[str, str] = dataclasses.field(default_factory=dict)
    catalog: str = ""
    endpoints: dict[str, str] = dataclasses.field(default_factory=dict)
    processes: list[ProcessState] = dataclasses.field(default_factory=list)

    def to_json(self) -> str:
        """Return the state as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MeshState:
        """Parse a line of `to_json`. Raise ValueError if it is anything else."""
        try:
            document: dict[str, Any] = json.loads(text)
            processes = [
                ProcessState(**{**process, "condition": Condition(process["condition"])})
                for process in document["processes"]
            ]
            return cls(**{**document, "phase": Phase(document["phase"]), "processes": processes})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"invalid state of a mesh: {error}") from error

    def write(self, path: Path) -> None:
        """Write the state to a file."""
        replace_text(path, self.to_json() + "\n", mode=0o600)

    @classmethod
    def read(cls, path: Path) -> MeshState | None:
        """Read the state from a file; None if the file is missing or damaged."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

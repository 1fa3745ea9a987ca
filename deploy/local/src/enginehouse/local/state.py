"""What a running mesh looks like from outside: written by the supervisor, read by everybody else."""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any

from enginehouse.local.datadir import replace_text


class Phase(enum.StrEnum):
    """Where a mesh is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Condition(enum.StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclasses.dataclass(slots=True, kw_only=True)
class ProcessState:
    """One process.

    Attributes:
        name: such as `router` or `inference-1`.
        condition: where it is in its life.
        pid: of the running process; 0 without one.
        start_id: with the pid, this names one process for ever; see `pids.process_start_id`.
        started_at: when it was started, in seconds since 1970.
        restarts: how often it was started again after it had ended unasked.
        since: when the condition began, in seconds since 1970.
        note: why it is where it is, such as how it ended last.
        log: the path of its log file.
        stop_signal: the signal that asks it to end in order.
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
    """The whole mesh.

    Attributes:
        phase: where it is in its life.
        data: the data directory.
        url: the public door.
        pid: the supervisor's.
        start_id: the supervisor's.
        started_at: when the start began, in seconds since 1970.
        ready_after_s: seconds from then until everything served; 0 before.
        error: what went wrong, when it failed.
        notices: things done that the user should know of.
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
    endpoints: dict[str, str] = dataclasses.field(default_factory=dict)
    processes: list[ProcessState] = dataclasses.field(default_factory=list)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MeshState:
        """Reads `to_json`'s line; raises ValueError for anything else."""
        try:
            document: dict[str, Any] = json.loads(text)
            processes = [
                ProcessState(**{**each, "condition": Condition(each["condition"])}) for each in document["processes"]
            ]
            return cls(**{**document, "phase": Phase(document["phase"]), "processes": processes})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a mesh's state: {error}") from error

    def write(self, path: Path) -> None:
        """Puts the state where `read` finds it."""
        replace_text(path, self.to_json() + "\n", mode=0o600)

    @classmethod
    def read(cls, path: Path) -> MeshState | None:
        """The last state written there, or None; a damaged file says as little as a missing one."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

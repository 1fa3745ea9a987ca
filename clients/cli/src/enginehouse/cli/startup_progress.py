"""Progress of a mesh's start: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from enginehouse.local.state import Condition, MeshState, Phase

_COLOURS = {
    Condition.READY: "green",
    Condition.STARTING: "yellow",
    Condition.UNREADY: "red",
    Condition.BACKOFF: "red",
    Condition.STOPPING: "yellow",
}


class StartupProgress:
    """Display of a starting mesh.

    Args:
        quiet: show nothing; set with `--json`.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._seen: dict[str, tuple[Condition, int]] = {}
        self._phase: Phase | None = None
        self._notices = 0
        self._absent: Mapping[str, str] = {}
        if not quiet and sys.stdout.isatty():
            # Redrawn on changes only: automatic refresh needs a thread, and the supervisor forks.
            self._live = Live(console=Console(), auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, state: MeshState) -> None:
        """Show a state."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(_table(state), refresh=True)
        else:
            self._print_changes(state)

    def _print_changes(self, state: MeshState) -> None:
        for notice in state.notices[self._notices :]:
            _line(f"note: {notice}")
        self._notices = len(state.notices)
        if state.absent_weights != self._absent:
            for line in lines_of_absent_weights(state.absent_weights):
                _line(line)
            self._absent = dict(state.absent_weights)
        for process in state.processes:
            now = (process.condition, process.restarts)
            if self._seen.get(process.name) != now and process.condition is not Condition.WAITING:
                note = f" ({process.note})" if process.note else ""
                _line(f"{process.name}: {process.condition}{note}")
            self._seen[process.name] = now
        if state.phase is not self._phase and state.phase in (Phase.READY, Phase.STOPPED):
            _line(_headline(state))
        self._phase = state.phase


def lines_of_absent_weights(absent: Mapping[str, str]) -> list[str]:
    """Return a line about each model that is not served because its weights are not installed."""
    return [f"not served: {name}: {fault}, and start the mesh again" for name, fault in absent.items()]


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _headline(state: MeshState) -> str:
    if state.phase is Phase.READY:
        return f"ready after {state.ready_after_s:.1f} s: {state.url} (key and URL in {state.data}/dev.env)"
    return f"{state.phase}: {state.data}"


def _table(state: MeshState) -> Table:
    table = Table(box=None, pad_edge=False, title=_headline(state), title_justify="left", title_style="bold")
    for column in ("process", "state", "pid", "restarts", "since", "note"):
        table.add_column(column)
    for process in state.processes:
        colour = _COLOURS.get(process.condition, "dim")
        since = time.strftime("%H:%M:%S", time.localtime(process.since)) if process.since else ""
        table.add_row(
            process.name,
            f"[{colour}]{process.condition}[/]",
            str(process.pid or ""),
            str(process.restarts or ""),
            since,
            process.note,
        )
    for name, fault in state.absent_weights.items():
        table.add_row(name, "[red]not served[/]", "", "", "", fault)
    for notice in state.notices:
        table.add_row("note", "", "", "", "", notice)
    return table

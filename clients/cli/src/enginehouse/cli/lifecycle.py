"""The commands `up`, `down`, `status` and `logs`: the mesh on this machine."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from enginehouse.cli.connection import DataOption, data_directory
from enginehouse.cli.output import JsonFlag, mebibytes, print_json, print_text, reported
from enginehouse.cli.startup_progress import StartupProgress, lines_of_absent_weights
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import MAX_INT32, whole_option
from enginehouse.kit.nearest import did_you_mean
from enginehouse.local import control, logfiles
from enginehouse.local import status as mesh_status
from enginehouse.local.datadir import DEFAULT
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError
from enginehouse.local.settings import Settings
from enginehouse.local.signals import run_until_signal
from enginehouse.local.state import MeshState, Phase
from enginehouse.local.supervisor import Supervisor, log_paths


@reported
def up(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", exists=True, dir_okay=False, help="A configuration file, which overrides generated values."
        ),
    ] = None,
    data: DataOption = DEFAULT,
    port: Annotated[
        int | None, whole_option("--port", least=1, most=65535, help="The public port; default: 8080.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once the mesh is ready, and leave it running.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Start the whole mesh on this machine: PostgreSQL, gateway, router, engines, Envoy."""
    with StartupProgress(quiet=json_) as progress:
        if detach:
            ready = control.start_detached(
                data=data, config=config, port=port, environ=os.environ, changed=progress.show
            )
            if json_:
                print_json(_started(ready))
            return

        announced = False

        def changed(state: MeshState) -> None:
            nonlocal announced
            progress.show(state)
            if json_ and state.phase is Phase.READY and not announced:
                announced = True
                print_json(_started(state))

        supervisor = Supervisor(
            settings=Settings(config, environ=os.environ, engines=find_engines()),
            data=data_directory(data),
            port=port,
            environ=os.environ,
            changed=changed,
        )
        run_until_signal(supervisor)


@reported
def down(data: DataOption = DEFAULT, json_: JsonFlag = False) -> None:
    """Stop the mesh of a data directory. Running streams are finished first."""
    stopped = control.stop(data_directory(data))
    if json_:
        print_json({"was_running": stopped.was_running, "seconds": round(stopped.seconds, 2)})
    elif stopped.was_running:
        print_text(f"stopped in {stopped.seconds:.1f} s")
    else:
        print_text(f"no mesh runs on {data}")


@reported
def status(wide: WideFlag = False, data: DataOption = DEFAULT, json_: JsonFlag = False) -> None:
    """Show the processes, engines and memory of the mesh. Exit with 1 if it does not run."""
    directory = data_directory(data)
    measured = mesh_status.measure(directory)
    if measured is None:
        raise LocalError(f"no mesh was started on {directory.root}; start one with `enginehouse up`")
    if json_:
        print_json(dataclasses.asdict(measured))
    else:
        _print_status(measured, wide=wide)
    if measured.phase == Phase.STOPPED:
        raise typer.Exit(1)


@reported
def logs(
    name: Annotated[str | None, typer.Argument(help="A process, such as router; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines.")] = False,
    lines: Annotated[
        int,
        whole_option("--lines", "-n", least=0, most=MAX_INT32, help="How many of the last lines of each log to print."),
    ] = 20,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show the logs of the processes."""
    directory = data_directory(data)
    paths = log_paths(directory)
    if name is not None and name not in paths:
        known = f"{did_you_mean(name, paths)}; known: {', '.join(paths)}" if paths else "; no mesh was started there"
        raise LocalError(f"no log of {name!r} in {directory.logs}{known}")
    chosen = paths if name is None else {name: paths[name]}

    def show(process: str, line: str) -> None:
        if json_:
            print_json({"process": process, "line": line})
        else:
            print_text(line if name is not None else f"{process:<12} {line}")

    for process, path in chosen.items():
        for line in logfiles.last_lines(path, lines):
            show(process, line)
    if follow:
        for process, line in logfiles.follow(chosen):
            show(process, line)


def _started(state: MeshState) -> dict[str, Any]:
    return {
        "url": state.url,
        "data": state.data,
        "environment_file": f"{state.data}/dev.env",
        "pid": state.pid,
        "ready_after_s": round(state.ready_after_s, 2),
        "processes": [
            {"name": process.name, "pid": process.pid, "state": process.condition} for process in state.processes
        ],
        "notices": state.notices,
        "absent_weights": state.absent_weights,
    }


def _print_status(measured: mesh_status.MeshStatus, *, wide: bool) -> None:
    print_text(f"{measured.phase}  {measured.url}  {measured.data}")
    rows = [
        [
            process.name,
            process.state,
            str(process.pid or "-"),
            str(process.restarts),
            f"{process.up_s:.0f} s" if process.pid else "-",
            mebibytes(process.memory_bytes) if process.pid else "-",
            f"{process.cpu_percent:.1f} %" if process.pid else "-",
            process.note,
        ]
        for process in measured.processes
    ]
    columns = ["process", "state", "pid", "restarts", "up", "memory", "cpu", "note"]
    print_table(columns, rows, empty="no processes", wide=wide, folding=["note"])
    engines = [
        [
            engine.engine_id,
            engine.cluster,
            engine.address,
            f"{engine.active}/{engine.capacity}",
            str(engine.queued),
            ", ".join(engine.models),
        ]
        for engine in measured.engines
    ]
    if measured.phase != Phase.STOPPED:
        columns = ["engine", "cluster", "address", "active", "queued", "models"]
        print_table(columns, engines, empty="no live engines", wide=wide, folding=["models"])
    for line in lines_of_absent_weights(measured.absent_weights):
        print_text(line)
    for notice in measured.notices:
        print_text(f"note: {notice}")
    if measured.pending_catalog:
        print_text(f"note: {measured.pending_catalog}")
    if measured.error:
        print_text(f"the last start failed: {measured.error}")
    print_text(f"memory in all: {mebibytes(measured.memory_bytes)}; was ready after {measured.ready_after_s:.1f} s")

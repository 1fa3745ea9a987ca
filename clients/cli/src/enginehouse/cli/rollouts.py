"""The command `rollouts`: shift a model name's requests from one model to another."""

from __future__ import annotations

from typing import Annotated

import typer

from enginehouse.api.router.v1 import rollouts_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import FileArgument, describe, read_message, word
from enginehouse.cli.names import ROLLOUTS
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.kit.nearest import did_you_mean
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Shift a model name's requests from one model to another in steps.")

_ACTIONS = {
    "pause": rollouts_pb2.ROLLOUT_ACTION_PAUSE,
    "resume": rollouts_pb2.ROLLOUT_ACTION_RESUME,
    "advance": rollouts_pb2.ROLLOUT_ACTION_ADVANCE,
    "roll-back": rollouts_pb2.ROLLOUT_ACTION_ROLL_BACK,
}


@app.command("start")
@reported
def start_rollout(
    file: FileArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Start a rollout from a file."""
    wanted = read_message(file, rollouts_pb2.Rollout())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.experiments.create_rollout(wanted)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{made.rollout_id}: {made.percent} % of {made.asked_model} goes to {made.to_model}")


@app.command("show")
@reported
def show_rollout(
    rollout_id: Annotated[
        str, typer.Argument(help="The rollout: its id or the beginning of it, or the model name that it is for.")
    ],
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show a rollout with the results of both models."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = ROLLOUTS.call(mesh, rollout_id, mesh.experiments.get_rollout)
    if json_:
        print_json(describe(found))
        return
    rollout = found.rollout
    state = word(rollouts_pb2.RolloutState, rollout.state)
    print_text(f"{rollout.asked_model}: {state} at {rollout.percent} %; {rollout.reason}")
    rows = [
        [
            result.model,
            str(result.requests),
            f"{result.error_rate:.1%}",
            f"{result.latency_ms:.0f}",
            f"{result.quality:.2f} of {result.rated}" if result.rated else "-",
        ]
        for result in found.results
    ]
    print_table(["model", "requests", "failed", "ms", "quality"], rows, empty="no models", wide=wide)


@app.command("list")
@reported
def list_rollouts(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List rollouts, oldest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.experiments.list_rollouts())
    if json_:
        print_json({"rollouts": [describe(rollout) for rollout in found]})
        return
    rows = [
        [
            rollout.rollout_id,
            rollout.asked_model,
            rollout.from_model,
            rollout.to_model,
            f"{rollout.percent} %",
            word(rollouts_pb2.RolloutState, rollout.state),
            rollout.reason,
        ]
        for rollout in found
    ]
    print_table(
        ["id", "name", "from", "to", "share", "state", "reason"],
        rows,
        empty="no rollouts",
        wide=wide,
        folding=["reason"],
    )


@app.command("change")
@reported
def change_rollout(
    rollout_id: Annotated[
        str, typer.Argument(help="The rollout: its id or the beginning of it, or the model name that it is for.")
    ],
    action: Annotated[str, typer.Argument(help="pause, resume, advance or roll-back.")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Pause, resume, advance or roll back a rollout."""
    if action not in _ACTIONS:
        raise typer.BadParameter(
            f"action: unknown value {action!r}{did_you_mean(action, _ACTIONS)}; known: {', '.join(_ACTIONS)}"
        )
    with connect(url=url, api_key=api_key, data=data) as mesh:
        changed = ROLLOUTS.call(
            mesh, rollout_id, lambda known: mesh.experiments.change_rollout(known, _ACTIONS[action])
        )
    if json_:
        print_json(describe(changed))
    else:
        print_text(f"{changed.rollout_id}: {changed.percent} % go to {changed.to_model}; {changed.reason}")

"""`experiments`: which arm does better."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import experiments_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import FileArgument, describe, read_message, word
from enginehouse.cli.output import JsonFlag, print_json, print_table, print_text, reported
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Start, look at and stop experiments.")


@app.command("start")
@reported
def start_experiment(
    file: FileArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Start an experiment from a file."""
    wanted = read_message(file, experiments_pb2.Experiment())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.steering.create_experiment(wanted)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{made.experiment_id}: {made.name} steers {made.asked_model}")


@app.command("show")
@reported
def show_experiment(
    experiment_id: Annotated[str, typer.Argument(help="The experiment's id, exp_...")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show an experiment and what came of each arm."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.steering.get_experiment(experiment_id)
    if json_:
        print_json(describe(found))
        return
    one = found.experiment
    state = word(experiments_pb2.ExperimentState, one.state)
    print_text(f"{one.name} ({one.experiment_id}) is {state}" + (f": {one.winner}, {one.reason}" if one.reason else ""))
    rows = [
        [
            result.arm,
            str(result.requests),
            str(result.units),
            _estimate(result.cost_nanos, "{:.0f}"),
            _estimate(result.latency_ms, "{:.0f}"),
            _estimate(result.quality, "{:.3f}"),
            _estimate(result.refusals, "{:.3f}"),
            _estimate(result.errors, "{:.3f}"),
            _estimate(result.difference, "{:+.4g}") if result.HasField("difference") else "control",
        ]
        for result in found.results
    ]
    metric = word(experiments_pb2.ExperimentMetric, one.metric)
    heads = ["arm", "requests", "units", "cost nanos", "ms", "quality", "refusals", "errors", f"{metric} difference"]
    print_table(heads, rows, empty="no arms")


@app.command("list")
@reported
def list_experiments(
    url: UrlOption = None, api_key: ApiKeyOption = None, data: DataOption = DEFAULT, json_: JsonFlag = False
) -> None:
    """List experiments, oldest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.steering.list_experiments())
    if json_:
        print_json({"experiments": [describe(one) for one in found]})
        return
    rows = [
        [
            one.experiment_id,
            one.name,
            one.asked_model,
            word(experiments_pb2.ExperimentMetric, one.metric),
            word(experiments_pb2.ExperimentState, one.state),
            one.winner,
        ]
        for one in found
    ]
    print_table(["id", "name", "model", "metric", "state", "winner"], rows, empty="no experiments")


@app.command("stop")
@reported
def stop_experiment(
    experiment_id: Annotated[str, typer.Argument(help="The experiment's id, exp_...")],
    winner: Annotated[str, typer.Option("--winner", help="The arm that everybody gets; none for what is asked.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """End an experiment."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        ended = mesh.steering.stop_experiment(experiment_id, winner=winner)
    if json_:
        print_json(describe(ended))
    else:
        print_text(f"{experiment_id} has ended; everybody gets {winner or 'what they ask for'}")


def _estimate(one: Any, form: str) -> str:
    """The mean, and how far it may be off; `--json` has the interval's ends."""
    if not one.units:
        return "-"
    text = form.format(one.mean)
    return text if math.isinf(one.low) else f"{text} ±{form.format((one.high - one.low) / 2).lstrip('+')}"

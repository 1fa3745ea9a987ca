"""The command `experiments`: compare models on live traffic."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import experiments_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import FileArgument, describe, read_message, word
from enginehouse.cli.names import EXPERIMENTS
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Start, show, list and stop experiments.")


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
        made = mesh.experiments.create_experiment(wanted)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{made.experiment_id}: {made.name} steers {made.asked_model}")


@app.command("show")
@reported
def show_experiment(
    experiment_id: Annotated[str, typer.Argument(help="The experiment: its id or the beginning of it, or its name.")],
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show an experiment with the results of each arm."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = EXPERIMENTS.call(mesh, experiment_id, mesh.experiments.get_experiment)
    if json_:
        print_json(describe(found))
        return
    experiment = found.experiment
    state = word(experiments_pb2.ExperimentState, experiment.state)
    verdict = f": {experiment.winner}, {experiment.reason}" if experiment.reason else ""
    print_text(f"{experiment.name} ({experiment.experiment_id}) is {state}{verdict}")
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
    metric = word(experiments_pb2.ExperimentMetric, experiment.metric)
    columns = ["arm", "requests", "units", "cost nanos", "ms", "quality", "refusals", "errors", f"{metric} difference"]
    print_table(columns, rows, empty="no arms", wide=wide)


@app.command("list")
@reported
def list_experiments(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List experiments, oldest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.experiments.list_experiments())
    if json_:
        print_json({"experiments": [describe(experiment) for experiment in found]})
        return
    rows = [
        [
            experiment.experiment_id,
            experiment.name,
            experiment.asked_model,
            word(experiments_pb2.ExperimentMetric, experiment.metric),
            word(experiments_pb2.ExperimentState, experiment.state),
            experiment.winner,
        ]
        for experiment in found
    ]
    print_table(["id", "name", "model", "metric", "state", "winner"], rows, empty="no experiments", wide=wide)


@app.command("stop")
@reported
def stop_experiment(
    experiment_id: Annotated[str, typer.Argument(help="The experiment: its id or the beginning of it, or its name.")],
    winner: Annotated[
        str, typer.Option("--winner", help="The arm that everybody gets; default: the requested model.")
    ] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Stop an experiment."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        ended = EXPERIMENTS.call(
            mesh, experiment_id, lambda known: mesh.experiments.stop_experiment(known, winner=winner)
        )
    if json_:
        print_json(describe(ended))
    else:
        print_text(f"{ended.experiment_id or experiment_id} stopped; everybody gets {winner or 'the requested model'}")


def _estimate(estimate: Any, form: str) -> str:
    """Return the mean and half the width of its interval; `--json` has the interval's bounds."""
    if not estimate.units:
        return "-"
    text = form.format(estimate.mean)
    return (
        text if math.isinf(estimate.low) else f"{text} ±{form.format((estimate.high - estimate.low) / 2).lstrip('+')}"
    )

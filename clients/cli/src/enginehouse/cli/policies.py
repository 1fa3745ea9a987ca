"""`policies`: which models requests may go to; `feedback`: what was thought of their answers."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
import yaml

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import FileArgument, describe, read_message
from enginehouse.cli.output import JsonFlag, print_json, print_table, print_text, reported
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Get, set, list, check and delete policy documents.")
feedback_app = typer.Typer(no_args_is_help=True, help="Rate answers, and see how models are rated.")

NameArgument = Annotated[str, typer.Argument(help="The document's name.")]


@app.command("get")
@reported
def get_policy(
    name: NameArgument = "default",
    version: Annotated[int, typer.Option("--version", min=0, help="As it was in this version; 0 for now.")] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Print a document as YAML, which `set` takes back."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.policies.get(name, version=version)
    if json_:
        print_json(describe(found))
    else:
        print_text(yaml.safe_dump(describe(found), sort_keys=False, allow_unicode=True).rstrip())


@app.command("set")
@reported
def set_policy(
    file: FileArgument,
    expected_version: Annotated[
        int | None, typer.Option("--expected-version", min=0, help="Only if this version is in force still; 0: none.")
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Put a document in force on every router within a second; one that is not valid changes nothing."""
    wanted = read_message(file, policy_pb2.Policy())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.policies.set(wanted, expected_version=expected_version)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{made.name}: version {made.version} is in force")


@app.command("list")
@reported
def list_policies(
    url: UrlOption = None, api_key: ApiKeyOption = None, data: DataOption = DEFAULT, json_: JsonFlag = False
) -> None:
    """List the documents in force."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.policies.list())
    if json_:
        print_json({"policies": [describe(policy) for policy in found]})
        return
    rows = [
        [
            policy.name,
            str(policy.version) if policy.version else "configuration",
            ", ".join(policy.tenants) or "all others",
            _when(policy.updated_at_ms),
            policy.description,
        ]
        for policy in found
    ]
    print_table(["name", "version", "tenants", "set", "description"], rows, empty="no policies")


@app.command("delete")
@reported
def delete_policy(
    name: NameArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Take a document out of force; its versions stay on record."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        mesh.policies.delete(name)
    if json_:
        print_json({"name": name, "deleted": True})
    else:
        print_text(f"{name} is gone")


@app.command("check")
@reported
def check_policy(
    file: FileArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Say what is wrong with a document; exit code 1 if anything is."""
    wanted = read_message(file, policy_pb2.Policy())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.policies.check(wanted)
    if json_:
        print_json({"problems": [describe(problem) for problem in found.problems]})
    elif found.problems:
        for problem in found.problems:
            print_text(f"{problem.field}: {problem.description}")
    else:
        print_text("nothing is wrong with it")
    if found.problems:
        raise typer.Exit(1)


@feedback_app.command("rate")
@reported
def rate_answer(
    request_id: Annotated[str, typer.Argument(help="The answer's x-enginehouse-request-id.")],
    good: Annotated[bool | None, typer.Option("--good/--bad", help="A thumb up or down.")] = None,
    score: Annotated[float | None, typer.Option("--score", min=0, max=1, help="How good it is, 0 to 1.")] = None,
    judge: Annotated[str, typer.Option("--judge", help="Who found the score, such as a model.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Rate an answer; a second rating from the same source replaces the first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        told = mesh.policies.rate(request_id, good=good, score=score, judge=judge)
    if json_:
        print_json({"model": told.model, "prompt_class": told.prompt_class, "replaced": told.replaced})
    else:
        print_text(f"{'replaced' if told.replaced else 'recorded'} for {told.model}, {told.prompt_class}")


@feedback_app.command("show")
@reported
def show_feedback(
    model: Annotated[str, typer.Option("--model", help="Only this model's.")] = "",
    days: Annotated[int, typer.Option("--days", min=0, help="Of the last so many days; 0 for 90.")] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show how models are rated, by class of prompt."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.policies.feedback(model=model, days=days).summaries
    if json_:
        rows = [
            {
                "model": summary.model,
                "prompt_class": summary.prompt_class,
                "ratings": summary.ratings,
                "mean_score": round(summary.mean_score, 6),
            }
            for summary in found
        ]
        print_json({"summaries": rows})
        return
    table = [
        [summary.prompt_class, summary.model, str(summary.ratings), f"{summary.mean_score:.3f}"] for summary in found
    ]
    print_table(["prompts", "model", "ratings", "mean score"], table, empty="no ratings")


def _when(milliseconds: int) -> str:
    if not milliseconds:
        return ""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")

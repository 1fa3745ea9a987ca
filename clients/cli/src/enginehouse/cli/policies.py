"""The commands `policies` (routing policies) and `feedback` (ratings of answers)."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
import yaml

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import FileArgument, describe, read_message
from enginehouse.cli.names import MODELS, POLICIES
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import MAX_NANOS, decimal_option, whole_option
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Get, set, list, check and delete policy documents.")
feedback_app = typer.Typer(no_args_is_help=True, help="Rate answers, and show the ratings of models.")

NameArgument = Annotated[str, typer.Argument(help="The document's name.")]


@app.command("get")
@reported
def get_policy(
    name: NameArgument = "default",
    version: Annotated[
        int, whole_option("--version", least=0, most=MAX_NANOS, help="The version; 0 for the current one.")
    ] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Print a document as YAML, as `set` reads it."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = POLICIES.call(mesh, name, lambda known: mesh.policies.get(known, version=version))
    if json_:
        print_json(describe(found))
    else:
        print_text(yaml.safe_dump(describe(found), sort_keys=False, allow_unicode=True).rstrip())


@app.command("set")
@reported
def set_policy(
    file: FileArgument,
    expected_version: Annotated[
        int | None,
        whole_option(
            "--expected-version", least=0, most=MAX_NANOS, help="Fail unless this is the current version; 0 for none."
        ),
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Apply a document on all routers within a second. An invalid document changes nothing."""
    wanted = read_message(file, policy_pb2.Policy())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.policies.set(wanted, expected_version=expected_version)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{made.name}: version {made.version} applied")


@app.command("list")
@reported
def list_policies(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the current documents."""
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
    print_table(
        ["name", "version", "tenants", "set", "description"],
        rows,
        empty="no policies",
        wide=wide,
        folding=["tenants", "description"],
    )


@app.command("delete")
@reported
def delete_policy(
    name: NameArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Delete a document. Its versions are kept."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        POLICIES.call(mesh, name, mesh.policies.delete)
    if json_:
        print_json({"name": name, "deleted": True})
    else:
        print_text(f"{name} deleted")


@app.command("check")
@reported
def check_policy(
    file: FileArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Check a document. Exit with 1 if it has problems."""
    wanted = read_message(file, policy_pb2.Policy())
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.policies.check(wanted)
    if json_:
        print_json({"problems": [describe(problem) for problem in found.problems]})
    elif found.problems:
        for problem in found.problems:
            print_text(f"{problem.field}: {problem.description}")
    else:
        print_text("no problems")
    if found.problems:
        raise typer.Exit(1)


@feedback_app.command("rate")
@reported
def rate_answer(
    request_id: Annotated[str, typer.Argument(help="The answer's x-enginehouse-request-id.")],
    good: Annotated[bool | None, typer.Option("--good/--bad", help="Rate the answer good or bad.")] = None,
    score: Annotated[float | None, decimal_option("--score", least=0, most=1, help="A score.")] = None,
    judge: Annotated[str, typer.Option("--judge", help="The source of the score, such as a model.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Rate an answer. A second rating from the same source replaces the first."""
    if (good is None) == (score is None):
        raise ValueError("give exactly one of good and score: --good or --bad, or --score")
    with connect(url=url, api_key=api_key, data=data) as mesh:
        rating = mesh.policies.rate(request_id, good=good, score=score, judge=judge)
    if json_:
        print_json({"model": rating.model, "prompt_class": rating.prompt_class, "replaced": rating.replaced})
    else:
        print_text(f"{'replaced' if rating.replaced else 'recorded'} for {rating.model}, {rating.prompt_class}")


@feedback_app.command("show")
@reported
def show_feedback(
    model: Annotated[str, typer.Option("--model", help="Only this model.")] = "",
    days: Annotated[int, whole_option("--days", least=0, most=3650, help="Ratings of this many days; 0 for 90.")] = 0,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show the ratings of models by class of prompt."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.policies.feedback(model=model, days=days).summaries
        if model and not found:
            MODELS.find_if_allowed(mesh, model)
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
    print_table(["prompts", "model", "ratings", "mean score"], table, empty="no ratings", wide=wide)


def _when(milliseconds: int) -> str:
    if not milliseconds:
        return ""
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")

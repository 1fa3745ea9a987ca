"""`budgets`: bounds on spend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_table, print_text, reported
from enginehouse.client.admin_requests import BUDGET_SCOPES, BUDGET_WINDOWS
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Set, list and delete budgets.")

_SCOPE_WORDS = {value: word for word, value in BUDGET_SCOPES.items()}
_WINDOW_WORDS = {value: word for word, value in BUDGET_WINDOWS.items()}


@app.command("set")
@reported
def set_(
    limit_nanos: Annotated[int, typer.Option("--limit-nanos", min=0, help="The bound in nano-dollars (10^-9 USD).")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Bound what this tenant spends.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Bound what this key (its id) spends.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Bound what this user spends.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Bound what this run spends.")] = None,
    window: Annotated[str, typer.Option("--window", help="lifetime, day or month (UTC).")] = "lifetime",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Make a budget, or change the limit of the one that is there."""
    given = [(scope, id_) for scope, id_ in (("tenant", tenant), ("key", key), ("user", user), ("run", run)) if id_]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --tenant, --key, --user and --run")
    scope, scope_id = given[0]
    with connect(url=url, api_key=api_key, data=data) as mesh:
        budget = mesh.admin.set_budget(scope=scope, scope_id=scope_id, limit_nanos=limit_nanos, window=window)
    if json_:
        print_json(_describe(budget))
    else:
        print_text(f"{budget.budget_id}: {scope} {scope_id} may spend {dollars(budget.limit_nanos)} a {window}")


@app.command("list")
@reported
def list_(
    of: Annotated[str, typer.Option("--of", help="Only those of this tenant, key, user or run (its id).")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List budgets with what is spent and held of them now."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        budgets = list(mesh.admin.list_budgets(scope_id=of))
    if json_:
        print_json({"budgets": [_describe(budget) for budget in budgets]})
        return
    rows = [
        [
            budget.budget_id,
            _SCOPE_WORDS.get(budget.scope, "?"),
            budget.scope_id,
            _WINDOW_WORDS.get(budget.window, "lifetime"),
            dollars(budget.limit_nanos),
            dollars(budget.settled_nanos),
            dollars(budget.leased_nanos),
        ]
        for budget in budgets
    ]
    print_table(["id", "scope", "of", "window", "limit", "spent", "held"], rows, empty="no budgets")


@app.command()
@reported
def delete(
    budget_id: Annotated[str, typer.Argument(help="The budget's id, bud_...")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Remove a budget; what was spent stays on record."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        mesh.admin.delete_budget(budget_id)
    if json_:
        print_json({"id": budget_id, "deleted": True})
    else:
        print_text(f"{budget_id} is gone")


def _describe(budget: admin_pb2.Budget) -> dict[str, Any]:
    return {
        "id": budget.budget_id,
        "scope": _SCOPE_WORDS.get(budget.scope, ""),
        "scope_id": budget.scope_id,
        "window": _WINDOW_WORDS.get(budget.window, "lifetime"),
        "limit_nanos": budget.limit_nanos,
        "settled_nanos": budget.settled_nanos,
        "leased_nanos": budget.leased_nanos,
    }

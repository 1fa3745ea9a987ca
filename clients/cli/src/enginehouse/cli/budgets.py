"""The command `budgets`: limits on spend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import admin_pb2, alerts_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import BUDGETS, KEYS, TENANTS, USERS_BY_NAME, list_of, user_name
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.timestamps import day_and_time
from enginehouse.cli.values import MAX_NANOS, check_word, whole_option
from enginehouse.client.requests.admin import BUDGET_SCOPES, BUDGET_WINDOWS
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Set, list and delete budgets.")

_SCOPE_WORDS = {value: word for word, value in BUDGET_SCOPES.items()}
_WINDOW_WORDS = {value: word for word, value in BUDGET_WINDOWS.items()}


@app.command("set")
@reported
def set_(
    limit_nanos: Annotated[
        int,
        whole_option("--limit-nanos", least=0, most=MAX_NANOS, help="The limit in nano-dollars (10^-9 USD)."),
    ],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Limit this tenant: its id or its name.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Limit this key: its id or the beginning of it, or its name.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Limit this user: the name or the id.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Limit this run.")] = None,
    window: Annotated[str, typer.Option("--window", help="lifetime, day or month (UTC).")] = "lifetime",
    alert: Annotated[
        list[int] | None,
        whole_option("--alert", least=1, most=100, help="A percentage that raises an alert; repeatable."),
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create a budget, or change the limit of an existing one."""
    given = [(scope, id_) for scope, id_ in (("tenant", tenant), ("key", key), ("user", user), ("run", run)) if id_]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --tenant, --key, --user and --run")
    scope, scope_id = given[0]
    check_word(window, BUDGET_WINDOWS, flag="--window", what="window")
    with connect(url=url, api_key=api_key, data=data) as mesh:

        def set_for(known: str) -> admin_pb2.Budget:
            return mesh.admin.set_budget(
                scope=scope, scope_id=known, limit_nanos=limit_nanos, window=window, alert_percents=alert or ()
            )

        kind = {"key": KEYS, "tenant": TENANTS}.get(scope)
        if scope == "user":
            scope_id = user_name(mesh, scope_id)
        budget = set_for(scope_id) if kind is None else kind.call(mesh, scope_id, set_for)
    if json_:
        print_json(_describe(budget))
    else:
        period = "in its lifetime" if window == "lifetime" else f"a {window}"
        print_text(f"{budget.budget_id}: {scope} {scope_id} may spend {dollars(budget.limit_nanos)} {period}")


@app.command("list")
@reported
def list_(
    of: Annotated[
        str, typer.Option("--of", help="Only this tenant, key, user or run: an id or the beginning of one, or a name.")
    ] = "",
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List budgets with their settled and leased amounts."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        budgets = list_of(
            mesh, of, lambda known: list(mesh.admin.list_budgets(scope_id=known)), kinds=(KEYS, TENANTS, USERS_BY_NAME)
        )
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
    print_table(["id", "scope", "of", "window", "limit", "settled", "leased"], rows, empty="no budgets", wide=wide)


@app.command()
@reported
def delete(
    budget_id: Annotated[
        str,
        typer.Argument(help="The budget: its id or the beginning of it, or the key, user or tenant that it is for."),
    ],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Delete a budget. Usage records are kept."""
    with connect(url=url, api_key=api_key, data=data) as mesh:

        def delete_(known: str) -> str:
            mesh.admin.delete_budget(known)
            return known

        deleted = BUDGETS.call(mesh, budget_id, delete_)
    if json_:
        print_json({"id": deleted, "deleted": True})
    else:
        print_text(f"{deleted} deleted")


@app.command()
@reported
def alerts(
    of: Annotated[
        str, typer.Option("--of", help="Only this tenant, key, user or run: an id or the beginning of one, or a name.")
    ] = "",
    budget: Annotated[
        str, typer.Option("--budget", help="Only this budget: its id or the beginning of it, or what it is for.")
    ] = "",
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List budget alerts, newest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        budget_id = BUDGETS.find(mesh, budget) if budget else ""
        found = list_of(
            mesh,
            of,
            lambda known: list(mesh.billing.list_alerts(budget_id=budget_id, scope_id=known)),
            kinds=(KEYS, TENANTS, USERS_BY_NAME),
        )
    if json_:
        print_json({"alerts": [_describe_alert(alert) for alert in found]})
        return
    rows = [
        [
            day_and_time(alert.raised_at_ms),
            f"{alert.percent} %",
            alert.scope,
            alert.scope_id,
            alert.window,
            dollars(alert.settled_nanos),
            dollars(alert.limit_nanos),
            _word(alerts_pb2.AlertCause.Name(alert.cause), "ALERT_CAUSE_"),
            _word(alerts_pb2.AlertDelivery.Name(alert.delivery), "ALERT_DELIVERY_"),
        ]
        for alert in found
    ]
    columns = ["raised", "percent", "scope", "of", "window", "settled", "limit", "cause", "webhook"]
    print_table(columns, rows, empty="no alerts", wide=wide)


def _describe_alert(alert: alerts_pb2.Alert) -> dict[str, Any]:
    return {
        "id": alert.alert_id,
        "budget_id": alert.budget_id,
        "scope": alert.scope,
        "scope_id": alert.scope_id,
        "window": alert.window,
        "window_start_ms": alert.window_start_ms,
        "percent": alert.percent,
        "limit_nanos": alert.limit_nanos,
        "settled_nanos": alert.settled_nanos,
        "cause": _word(alerts_pb2.AlertCause.Name(alert.cause), "ALERT_CAUSE_"),
        "raised_at_ms": alert.raised_at_ms,
        "delivery": _word(alerts_pb2.AlertDelivery.Name(alert.delivery), "ALERT_DELIVERY_"),
        "attempts": alert.attempts,
    }


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _describe(budget: admin_pb2.Budget) -> dict[str, Any]:
    return {
        "id": budget.budget_id,
        "scope": _SCOPE_WORDS.get(budget.scope, ""),
        "scope_id": budget.scope_id,
        "window": _WINDOW_WORDS.get(budget.window, "lifetime"),
        "limit_nanos": budget.limit_nanos,
        "settled_nanos": budget.settled_nanos,
        "leased_nanos": budget.leased_nanos,
        "alert_percents": list(budget.alert_percents),
    }

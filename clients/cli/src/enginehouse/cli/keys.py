"""The command `keys`: API keys."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import KEYS, TENANTS, list_of, tenant_id, user_name
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import MAX_INT32, MAX_NANOS, decimal_option, shorten, whole_option
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Create, list, rotate and revoke API keys.")


@app.command()
@reported
def create(
    name: Annotated[str, typer.Option("--name", help="The key's name, 1-64 characters.")],
    budget_nanos: Annotated[
        int | None,
        whole_option("--budget-nanos", least=0, most=MAX_NANOS, help="A lifetime budget in nano-dollars (10^-9 USD)."),
    ] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help="The tenant that pays: its id or its name; default: the caller's.")
    ] = "",
    role: Annotated[
        str, typer.Option("--role", help="The role whose scopes the key gets: viewer, developer, admin or owner.")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A scope: inference, spend, keys, manage, owner or admin; repeatable."),
    ] = None,
    user: Annotated[str, typer.Option("--user", help="The user that the key acts for: the name or the id.")] = "",
    model: Annotated[list[str] | None, typer.Option("--model", help="An allowed model; repeatable.")] = None,
    max_request_nanos: Annotated[
        int, whole_option("--max-request-nanos", least=0, most=MAX_NANOS, help="The cost cap of a request; 0 for none.")
    ] = 0,
    run_cap_nanos: Annotated[
        int, whole_option("--run-cap-nanos", least=0, most=MAX_NANOS, help="The budget of each run; 0 for none.")
    ] = 0,
    requests_per_minute: Annotated[
        int, whole_option("--requests-per-minute", least=0, most=MAX_INT32, help="0 for no limit.")
    ] = 0,
    tokens_per_minute: Annotated[
        int, whole_option("--tokens-per-minute", least=0, most=MAX_INT32, help="0 for no limit.")
    ] = 0,
    concurrency: Annotated[
        int, whole_option("--concurrency", least=0, most=MAX_INT32, help="Concurrent requests; 0 for no limit.")
    ] = 0,
    route_limit: Annotated[
        list[str] | None,
        typer.Option(
            "--route-limit",
            help="Limits of a route per minute, SERVICE/METHOD=REQUESTS[,TOKENS[,CONCURRENCY]]; METHOD may be *; "
            "repeatable.",
        ),
    ] = None,
    user_limit: Annotated[
        str,
        typer.Option("--user-limit", help="Limits of each end user: REQUESTS[,TOKENS[,CONCURRENCY]]."),
    ] = "",
    expires_in_days: Annotated[
        float | None, decimal_option("--expires-in-days", least=0.0001, most=36_500, help="Default: never.")
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create a key. It is shown only once."""
    expires = 0 if expires_in_days is None else int((time.time() + expires_in_days * 86400) * 1000)
    limits = admin_pb2.Limits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, concurrency=concurrency
    )
    user_limits = _limits(user_limit, flag="--user-limit") if user_limit else None
    route_limits = [_route_limits(limit) for limit in route_limit or ()]
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.admin.create_key(
            name,
            tenant_id=tenant_id(mesh, tenant),
            scopes=scope or (),
            budget_nanos=budget_nanos,
            limits=limits,
            allowed_models=model or (),
            expires_at_ms=expires,
            max_request_nanos=max_request_nanos,
            run_cap_nanos=run_cap_nanos,
            role=role,
            user_id=user_name(mesh, user),
            user_limits=user_limits,
            route_limits=route_limits,
        )
    if json_:
        print_json({"id": made.key.key_id, "key": made.secret, **_describe(made.key), "budget_nanos": budget_nanos})
        return
    print_text(made.secret)
    budget = f", budget {dollars(budget_nanos)}" if budget_nanos is not None else ""
    print_text(f"{made.key.key_id} ({made.key.name}{budget}): store the key now, it is not shown again")


@app.command("list")
@reported
def list_(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant.")] = "",
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List keys, without their secrets."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        keys = list_of(mesh, tenant, lambda known: list(mesh.admin.list_keys(tenant_id=known)), kinds=(TENANTS,))
    if json_:
        print_json({"keys": [_describe(key) for key in keys]})
        return
    rows = [
        [key.key_id, key.hint, key.name, key.tenant_id, ", ".join(key.scopes), _day(key.created_at_ms), _state(key)]
        for key in keys
    ]
    columns = ["id", "key", "name", "tenant", "scopes", "created", "state"]
    print_table(columns, rows, empty="no keys", wide=wide, folding=["scopes"])


@app.command()
@reported
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key: its id or the beginning of it, or its name.")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Revoke a key, everywhere within a second."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        key = KEYS.call(mesh, key_id, mesh.admin.revoke_key)
    if json_:
        print_json(_describe(key))
    else:
        print_text(f"{key.key_id} ({key.name}) revoked")


@app.command()
@reported
def rotate(
    key_id: Annotated[str, typer.Argument(help="The key: its id or the beginning of it, or its name.")],
    overlap_hours: Annotated[
        float | None,
        decimal_option(
            "--overlap-hours", least=0, most=720, help="How long the old secret stays valid; default: a day."
        ),
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Give a key a new secret. It is shown only once; the old one stays valid for a while."""
    overlap = None if overlap_hours is None else int(overlap_hours * 3600)
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = KEYS.call(mesh, key_id, lambda known: mesh.identity.rotate_key(known, overlap_s=overlap))
    if json_:
        print_json({"id": made.key.key_id, "key": made.secret, **_describe(made.key)})
        return
    print_text(made.secret)
    until = made.key.previous_until_ms
    old = f"the old one is valid until {_day(until)}" if until else "the old one is no longer valid"
    print_text(f"{made.key.key_id} ({made.key.name}): store the key now, it is not shown again; {old}")


@app.command("run")
@reported
def for_run(
    run_id: Annotated[str, typer.Argument(help="The run's id.")],
    minutes: Annotated[float, decimal_option("--minutes", least=0.1, most=10_080, help="How long it is valid.")] = 60.0,
    budget_nanos: Annotated[
        int | None, whole_option("--budget-nanos", least=0, most=MAX_NANOS, help="Its budget in nano-dollars.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="An allowed model; repeatable.")] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create a short-lived key for a run, with at most the rights of the caller's key. It is shown only once."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.identity.create_run_key(
            run_id, lifetime_s=int(minutes * 60), budget_nanos=budget_nanos, allowed_models=model or ()
        )
    if json_:
        print_json({"id": made.key.key_id, "key": made.secret, **_describe(made.key), "budget_nanos": budget_nanos})
        return
    print_text(made.secret)
    print_text(f"{made.key.key_id} for the run {run_id}, valid until {_day(made.key.expires_at_ms)}")


def _limits(text: str, *, flag: str) -> admin_pb2.Limits:
    """Parse REQUESTS[,TOKENS[,CONCURRENCY]]. Raise ValueError for anything else; it names the flag."""
    parts = text.split(",")
    form = "REQUESTS[,TOKENS[,CONCURRENCY]]"
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() and int(part[:11]) <= MAX_INT32 for part in parts):
        raise ValueError(
            f"{flag}: limits {shorten(text)}: must be {form}, whole numbers from 0 to {MAX_INT32}, 0 for no limit"
        )
    requests, tokens, concurrency = (*map(int, parts), 0, 0)[:3]
    return admin_pb2.Limits(requests_per_minute=requests, tokens_per_minute=tokens, concurrency=concurrency)


def _route_limits(text: str) -> admin_pb2.RouteLimits:
    flag = "--route-limit"
    route, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"{flag}: {shorten(text)} must be SERVICE/METHOD=REQUESTS[,TOKENS[,CONCURRENCY]]")
    return admin_pb2.RouteLimits(route=route, limits=_limits(limits, flag=flag))


def _describe(key: admin_pb2.Key) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "allowed_models": list(key.allowed_models),
        "requests_per_minute": key.limits.requests_per_minute,
        "tokens_per_minute": key.limits.tokens_per_minute,
        "concurrency": key.limits.concurrency,
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
        "user_id": key.user_id,
        "run_id": key.run_id,
        "parent_id": key.parent_id,
        "previous_until_ms": key.previous_until_ms,
        "hint": key.hint,
        "max_request_nanos": key.max_request_nanos,
        "run_cap_nanos": key.run_cap_nanos,
    }


def _state(key: admin_pb2.Key) -> str:
    if key.revoked_at_ms:
        return f"revoked {_day(key.revoked_at_ms)}"
    if key.expires_at_ms:
        state = "expired" if key.expires_at_ms <= time.time() * 1000 else "expires"
        return f"{state} {_day(key.expires_at_ms)}"
    return "active"


def _day(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000))

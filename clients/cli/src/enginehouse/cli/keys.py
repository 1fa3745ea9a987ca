"""`keys`: API keys."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_table, print_text, reported
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
@reported
def create(
    name: Annotated[str, typer.Option("--name", help="For people, 1-64 characters.")],
    budget_nanos: Annotated[
        int | None, typer.Option("--budget-nanos", min=0, help="A lifetime budget in nano-dollars (10^-9 USD).")
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Who pays; the caller's own tenant if left out.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="inference, spend or admin; may be given again.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model that it may use; may be given again.")
    ] = None,
    max_request_nanos: Annotated[
        int, typer.Option("--max-request-nanos", min=0, help="The most that one request may cost; 0 for no cap.")
    ] = 0,
    run_cap_nanos: Annotated[
        int, typer.Option("--run-cap-nanos", min=0, help="The budget that each of its runs gets; 0 for none.")
    ] = 0,
    requests_per_minute: Annotated[int, typer.Option("--requests-per-minute", min=0, help="0 for no bound.")] = 0,
    tokens_per_minute: Annotated[int, typer.Option("--tokens-per-minute", min=0, help="0 for no bound.")] = 0,
    concurrency: Annotated[int, typer.Option("--concurrency", min=0, help="Requests at once; 0 for no bound.")] = 0,
    expires_in_days: Annotated[float | None, typer.Option("--expires-in-days", min=0.0, help="Else never.")] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Make a key; it is shown this once."""
    expires = 0 if expires_in_days is None else int((time.time() + expires_in_days * 86400) * 1000)
    limits = admin_pb2.Limits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, concurrency=concurrency
    )
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.admin.create_key(
            name,
            tenant_id=tenant,
            scopes=scope or (),
            budget_nanos=budget_nanos,
            limits=limits,
            allowed_models=model or (),
            expires_at_ms=expires,
            max_request_nanos=max_request_nanos,
            run_cap_nanos=run_cap_nanos,
        )
    if json_:
        print_json({"id": made.key.key_id, "key": made.secret, **_describe(made.key), "budget_nanos": budget_nanos})
        return
    print_text(made.secret)
    budget = f", budget {dollars(budget_nanos)}" if budget_nanos is not None else ""
    print_text(f"{made.key.key_id} ({made.key.name}{budget}): keep the key now, it is not shown again")


@app.command("list")
@reported
def list_(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List keys, without the keys themselves."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        keys = list(mesh.admin.list_keys(tenant_id=tenant))
    if json_:
        print_json({"keys": [_describe(key) for key in keys]})
        return
    rows = [
        [key.key_id, key.hint, key.name, key.tenant_id, ", ".join(key.scopes), _day(key.created_at_ms), _state(key)]
        for key in keys
    ]
    print_table(["id", "key", "name", "tenant", "scopes", "made", "state"], rows, empty="no keys")


@app.command()
@reported
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, key_...")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Revoke a key, everywhere within a second."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        key = mesh.admin.revoke_key(key_id)
    if json_:
        print_json(_describe(key))
    else:
        print_text(f"{key.key_id} ({key.name}) is revoked")


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
        "hint": key.hint,
        "max_request_nanos": key.max_request_nanos,
        "run_cap_nanos": key.run_cap_nanos,
    }


def _state(key: admin_pb2.Key) -> str:
    if key.revoked_at_ms:
        return f"revoked {_day(key.revoked_at_ms)}"
    if key.expires_at_ms:
        word = "expired" if key.expires_at_ms <= time.time() * 1000 else "expires"
        return f"{word} {_day(key.expires_at_ms)}"
    return "good"


def _day(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000))

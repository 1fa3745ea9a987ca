"""The command `tenants`: whose keys, users, budgets and spend are kept apart."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.timestamps import day_and_time
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Create and list tenants.")


@app.command()
@reported
def create(
    name: Annotated[str, typer.Argument(help="The tenant's name, 1-64 characters.")],
    tier: Annotated[str, typer.Option("--tier", help="Its tier, such as free, starter, pro or enterprise.")] = "free",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create a tenant."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        made = mesh.admin.create_tenant(name, tier=tier)
    if json_:
        print_json(_describe(made))
    else:
        print_text(f"{made.tenant_id} ({made.name}) is of the tier {made.tier}")


@app.command("list")
@reported
def list_(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List tenants, oldest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        tenants = list(mesh.admin.list_tenants())
    if json_:
        print_json({"tenants": [_describe(tenant) for tenant in tenants]})
        return
    rows = [[tenant.tenant_id, tenant.name, tenant.tier, day_and_time(tenant.created_at_ms)] for tenant in tenants]
    print_table(["id", "name", "tier", "created"], rows, empty="no tenants", wide=wide)


def _describe(tenant: admin_pb2.Tenant) -> dict[str, Any]:
    return {
        "id": tenant.tenant_id,
        "name": tenant.name,
        "tier": tenant.tier,
        "created_at_ms": tenant.created_at_ms,
    }

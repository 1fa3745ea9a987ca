"""The command `flags`: feature flags for applications."""

from __future__ import annotations

from typing import Annotated

import typer

from enginehouse.api.router.v1 import flags_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import describe
from enginehouse.cli.names import FLAGS, tenant_id
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import decimal_option
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Set, list and delete feature flags.")


@app.command("set")
@reported
def set_flag(
    name: Annotated[str, typer.Argument(help="1-64 characters of [a-z0-9.-].")],
    on: Annotated[bool, typer.Option("--on/--off", help="Turn the flag on or off for everybody.")] = True,
    share: Annotated[
        float, decimal_option("--share", least=0, most=100, help="The percentage of users that it is on for.")
    ] = 100,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="On for this tenant; repeatable.")] = None,
    user: Annotated[list[str] | None, typer.Option("--user", help="On for this user; repeatable.")] = None,
    description: Annotated[str, typer.Option("--description", help="A description.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create or replace a flag."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        flag = flags_pb2.Flag(
            name=name,
            description=description,
            enabled=on,
            share_bp=round(share * 100),
            tenant_ids=[tenant_id(mesh, given) for given in tenant or ()],
            user_ids=user or (),
        )
        made = mesh.experiments.set_flag(flag)
    if json_:
        print_json(describe(made))
    else:
        print_text(f"{name} is {'on' if on else 'off'}" + (f" for {made.share_bp / 100:g} % of users" if on else ""))


@app.command("list")
@reported
def list_flags(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List flags by name."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = list(mesh.experiments.list_flags())
    if json_:
        print_json({"flags": [describe(flag) for flag in found]})
        return
    rows = [
        [
            flag.name,
            "on" if flag.enabled else "off",
            f"{flag.share_bp / 100:g} %",
            ", ".join([*flag.tenant_ids, *flag.user_ids]),
            flag.description,
        ]
        for flag in found
    ]
    print_table(
        ["name", "state", "share", "also for", "description"],
        rows,
        empty="no flags",
        wide=wide,
        folding=["also for", "description"],
    )


@app.command("delete")
@reported
def delete_flag(
    name: Annotated[str, typer.Argument(help="The flag's name.")],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Delete a flag, which turns it off for everybody."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        FLAGS.call(mesh, name, mesh.experiments.delete_flag)
    if json_:
        print_json({"name": name, "deleted": True})
    else:
        print_text(f"{name} deleted")

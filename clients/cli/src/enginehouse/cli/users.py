"""The command `users`: users and their roles."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import identity_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, print_json, print_table, print_text, reported
from enginehouse.cli.timestamps import day_and_time
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Create, list, disable and enable users, and set their roles.")

UserArgument = Annotated[str, typer.Argument(help="The user's id, user_...")]
RoleOption = Annotated[str, typer.Option("--role", help="viewer, developer, admin or owner.")]


@app.command()
@reported
def create(
    name: Annotated[
        str, typer.Argument(help="The name that the identity provider gives the user: an address or a subject.")
    ],
    role: RoleOption,
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant; default: the caller's.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Create a user."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        user = mesh.identity.create_user(name, role=role, tenant_id=tenant)
    _show(user, json_=json_)


@app.command("list")
@reported
def list_(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List users."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        users = list(mesh.identity.list_users(tenant_id=tenant))
    if json_:
        print_json({"users": [_describe(user) for user in users]})
        return
    rows = [
        [user.user_id, user.name, user.tenant_id, _role(user), day_and_time(user.created_at_ms), _state(user)]
        for user in users
    ]
    print_table(["id", "name", "tenant", "role", "created", "state"], rows, empty="no users")


@app.command()
@reported
def role(
    user_id: UserArgument,
    role: RoleOption,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Set a user's role. The user's keys that exceed it are revoked."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        changed = mesh.identity.set_role(user_id, role)
    _show(changed.user, json_=json_, revoked=list(changed.revoked_key_ids))


@app.command()
@reported
def disable(
    user_id: UserArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Disable a user: tokens are refused and keys revoked, everywhere within a second."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        changed = mesh.identity.disable_user(user_id)
    _show(changed.user, json_=json_, revoked=list(changed.revoked_key_ids))


@app.command()
@reported
def enable(
    user_id: UserArgument,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Enable a user again. Revoked keys stay revoked."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        user = mesh.identity.enable_user(user_id)
    _show(user, json_=json_)


def _show(user: identity_pb2.User, *, json_: bool, revoked: list[str] | None = None) -> None:
    if json_:
        print_json(_describe(user) | ({} if revoked is None else {"revoked_key_ids": revoked}))
        return
    suffix = f"; revoked {', '.join(revoked)}" if revoked else ""
    print_text(f"{user.user_id} ({user.name}) is {_role(user)}, {_state(user)}{suffix}")


def _describe(user: identity_pb2.User) -> dict[str, Any]:
    return {
        "id": user.user_id,
        "tenant_id": user.tenant_id,
        "name": user.name,
        "role": _role(user),
        "created_at_ms": user.created_at_ms,
        "disabled_at_ms": user.disabled_at_ms,
    }


def _role(user: identity_pb2.User) -> str:
    return identity_pb2.Role.Name(user.role).removeprefix("ROLE_").lower()


def _state(user: identity_pb2.User) -> str:
    return f"disabled {day_and_time(user.disabled_at_ms)}" if user.disabled_at_ms else "active"

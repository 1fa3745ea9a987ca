"""The command `users`: users and their roles."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import identity_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import TENANTS, USERS, list_of, tenant_id
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.timestamps import day_and_time
from enginehouse.cli.values import check_word
from enginehouse.client.requests.identity import ROLES
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Create, list, disable and enable users, and set their roles.")

UserArgument = Annotated[str, typer.Argument(help="The user: the id or the beginning of it, or the name.")]
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
    check_word(role, ROLES, flag="--role", what="role")
    with connect(url=url, api_key=api_key, data=data) as mesh:
        user = mesh.identity.create_user(name, role=role, tenant_id=tenant_id(mesh, tenant))
    _show(user, json_=json_)


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
    """List users."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        users = list_of(mesh, tenant, lambda known: list(mesh.identity.list_users(tenant_id=known)), kinds=(TENANTS,))
    if json_:
        print_json({"users": [_describe(user) for user in users]})
        return
    rows = [
        [user.user_id, user.name, user.tenant_id, _role(user), day_and_time(user.created_at_ms), _state(user)]
        for user in users
    ]
    print_table(["id", "name", "tenant", "role", "created", "state"], rows, empty="no users", wide=wide)


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
    check_word(role, ROLES, flag="--role", what="role")
    with connect(url=url, api_key=api_key, data=data) as mesh:
        changed = USERS.call(mesh, user_id, lambda known: mesh.identity.set_role(known, role))
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
        changed = USERS.call(mesh, user_id, mesh.identity.disable_user)
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
        user = USERS.call(mesh, user_id, mesh.identity.enable_user)
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

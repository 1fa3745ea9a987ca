"""The command `audit`: the audit log."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import identity_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import BUDGETS, KEYS, TENANTS, USERS, any_of
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.terms import COMMANDS
from enginehouse.cli.timestamps import day_and_time, period_milliseconds, timestamp_option
from enginehouse.cli.values import MAX_INT32, check_word, shorten, whole_option
from enginehouse.client.requests.identity import OUTCOMES
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.nearest import did_you_mean
from enginehouse.local.datadir import DEFAULT

ACTORS = any_of((KEYS, USERS))
TARGETS = any_of((KEYS, USERS, TENANTS, BUDGETS))

app = typer.Typer(no_args_is_help=True, help="List and verify the audit log.")


def _refuse_most(given: str | None) -> None:
    if given is not None:
        raise typer.BadParameter("--most is now called --limit")


@app.command("list")
@reported
def list_(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant: its id or its name.")] = "",
    actor: Annotated[
        str, typer.Option("--actor", help="Only actions of this key or user: an id or the beginning of one, or a name.")
    ] = "",
    action: Annotated[
        str,
        typer.Option(
            "--action", help='Only this command or method, such as "keys create" or "AdminService/CreateKey".'
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--target", help="Only changes of this key, user, budget...: an id or the beginning of one, or a name."
        ),
    ] = "",
    outcome: Annotated[str, typer.Option("--outcome", help="Only this outcome: done, denied or failed.")] = "",
    since: Annotated[datetime | None, timestamp_option("--since", help="From this time on (UTC).")] = None,
    until: Annotated[datetime | None, timestamp_option("--until", help="Before this time (UTC).")] = None,
    limit: Annotated[
        int, whole_option("--limit", least=1, most=MAX_INT32, help="The maximum number of entries.")
    ] = 100,
    most: Annotated[str | None, typer.Option("--most", hidden=True, callback=_refuse_most)] = None,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the audit log, newest first."""
    check_word(outcome, OUTCOMES, flag="--outcome", what="outcome")
    from_ms, until_ms = period_milliseconds(since, until)
    method = _method(action)

    def listed(tenant_id: str, actor_id: str, target_id: str) -> list[identity_pb2.AuditEntry]:
        found = mesh.identity.audit(
            tenant_id=tenant_id,
            actor_id=actor_id,
            action=method,
            target_id=target_id,
            outcome=outcome,
            from_ms=from_ms,
            until_ms=until_ms,
        )
        return list(itertools.islice(found, limit))

    with connect(url=url, api_key=api_key, data=data) as mesh:
        entries = listed(tenant, actor, target)
        if not entries:
            _check_action(action, method)
            given = (
                TENANTS.find_if_allowed(mesh, tenant),
                ACTORS.find_if_allowed(mesh, actor),
                TARGETS.find_if_allowed(mesh, target),
            )
            if given != (tenant, actor, target):
                entries = listed(*given)
    if json_:
        print_json({"entries": [_describe(entry) for entry in entries]})
        return
    rows = [
        [
            str(entry.sequence),
            day_and_time(entry.at_ms),
            entry.actor_user or entry.actor_id or "-",
            entry.action,
            entry.target_id or "-",
            " ".join(filter(None, (_outcome(entry), entry.reason))),
        ]
        for entry in entries
    ]
    print_table(
        ["entry", "time", "actor", "action", "target", "outcome"],
        rows,
        empty="no entries",
        wide=wide,
        folding=["outcome"],
    )


@app.command()
@reported
def verify(
    expect: Annotated[
        str, typer.Option("--expect", help="An earlier entry, SEQUENCE:SEAL, that must still exist.")
    ] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Verify that the audit log is unchanged. Exit with 1 if it is not."""
    sequence, _, seal = expect.partition(":")
    if expect and not sequence.isdecimal():
        raise ValueError(f"--expect {expect!r}: must be SEQUENCE:SEAL, as printed by verify")
    with connect(url=url, api_key=api_key, data=data) as mesh:
        verdict = mesh.identity.verify_audit(expected_sequence=int(sequence or 0), expected_seal=seal)
    if json_:
        print_json(
            {
                "whole": verdict.whole,
                "entries": verdict.entries,
                "head": f"{verdict.head_sequence}:{verdict.head_seal}",
                "problem": verdict.problem,
            }
        )
    elif verdict.whole:
        print_text(f"intact: {verdict.entries} entries; head {verdict.head_sequence}:{verdict.head_seal}")
    else:
        print_text(f"damaged: {verdict.problem}")
    if not verdict.whole:
        raise typer.Exit(1)


def _method(action: str) -> str:
    """Return the method that a command calls, as the log names it; anything else as it is."""
    command = action.removeprefix("enginehouse ")
    method = next((name for name, caller in COMMANDS.items() if caller == command), action)
    return next((known for known in _actions() if known.endswith(f"/{method}")), action)


def _check_action(given: str, method: str) -> None:
    known = _actions()
    if given and method not in known and "/" not in given:
        near = did_you_mean(given, [*known, *COMMANDS.values()], count=3)
        raise ValueError(f"--action: unknown action {shorten(given)}{near}; `enginehouse audit list` shows them")


def _actions() -> list[str]:
    return [
        f"{service.name.rpartition('.')[2]}/{method.path.rpartition('/')[2]}"
        for service in load_contracts().services.values()
        for method in service.methods
    ]


def _describe(entry: identity_pb2.AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at_ms": entry.at_ms,
        "tenant_id": entry.tenant_id,
        "actor_tenant_id": entry.actor_tenant_id,
        "actor_id": entry.actor_id,
        "actor_user": entry.actor_user,
        "request_id": entry.request_id,
        "action": entry.action,
        "target_id": entry.target_id,
        "outcome": _outcome(entry),
        "reason": entry.reason,
        "before": json.loads(entry.before_json) if entry.before_json else None,
        "after": json.loads(entry.after_json) if entry.after_json else None,
        "seal": entry.seal,
    }


def _outcome(entry: identity_pb2.AuditEntry) -> str:
    return identity_pb2.AuditOutcome.Name(entry.outcome).removeprefix("AUDIT_OUTCOME_").lower()

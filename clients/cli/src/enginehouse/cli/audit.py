"""The command `audit`: the audit log."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import identity_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, print_json, print_table, print_text, reported
from enginehouse.cli.timestamps import day_and_time, milliseconds
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="List and verify the audit log.")


def _refuse_most(given: int | None) -> None:
    if given is not None:
        raise typer.BadParameter("--most is now called --limit")


@app.command("list")
@reported
def list_(
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant.")] = "",
    actor: Annotated[str, typer.Option("--actor", help="Only actions of this key or user.")] = "",
    action: Annotated[str, typer.Option("--action", help='Only this method, such as "AdminService/CreateKey".')] = "",
    target: Annotated[str, typer.Option("--target", help="Only changes of this key, user, budget...")] = "",
    outcome: Annotated[str, typer.Option("--outcome", help="Only this outcome: done, denied or failed.")] = "",
    since: Annotated[datetime | None, typer.Option("--since", help="From this time on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Before this time (UTC).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The maximum number of entries.")] = 100,
    most: Annotated[int | None, typer.Option("--most", hidden=True, callback=_refuse_most)] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the audit log, newest first."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.identity.audit(
            tenant_id=tenant,
            actor_id=actor,
            action=action,
            target_id=target,
            outcome=outcome,
            from_ms=milliseconds(since),
            until_ms=milliseconds(until),
        )
        entries = list(itertools.islice(found, limit))
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
    print_table(["entry", "time", "actor", "action", "target", "outcome"], rows, empty="no entries")


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

"""The command `spend`: settled costs."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.spend_filters import SpendFilters
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.timestamps import period_milliseconds, timestamp_option
from enginehouse.cli.values import check_word
from enginehouse.client.requests.admin import SPEND_GROUPS
from enginehouse.client.usage import usage_by_unit
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(invoke_without_command=True, help="Sum settled costs, or export them.")

_KeyOption = Annotated[str, typer.Option("--key", help="Only this key: its id or the beginning of it, or its name.")]
_TenantOption = Annotated[str, typer.Option("--tenant", help="Only this tenant: its id or its name.")]
_UserOption = Annotated[str, typer.Option("--user", help="Only this user: the name or the id.")]
_RunOption = Annotated[str, typer.Option("--run", help="Only this run.")]
_ModelOption = Annotated[str, typer.Option("--model", help="Only this model.")]
_ServiceOption = Annotated[str, typer.Option("--service", help="Only this kind of engine.")]
_SinceOption = Annotated[datetime.datetime | None, timestamp_option("--since", help="From this time on (UTC).")]
_UntilOption = Annotated[datetime.datetime | None, timestamp_option("--until", help="Before this time (UTC).")]


@app.callback()
@reported
def spend(
    context: typer.Context,
    key: _KeyOption = "",
    tenant: _TenantOption = "",
    user: _UserOption = "",
    run: _RunOption = "",
    model: _ModelOption = "",
    service: _ServiceOption = "",
    since: _SinceOption = None,
    until: _UntilOption = None,
    by: Annotated[str, typer.Option("--by", help="Group by tenant, key, user, run, model, service, day or hour.")] = "",
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Sum settled costs, exact to the nano-dollar."""
    if context.invoked_subcommand is not None:
        return
    check_word(by, SPEND_GROUPS, flag="--by", what="group")
    from_ms, until_ms = period_milliseconds(since, until)
    wanted = SpendFilters(key_id=key, tenant_id=tenant, user_id=user, run_id=run, model=model, service=service)

    def query(filters: SpendFilters) -> admin_pb2.QuerySpendResponse:
        return mesh.admin.spend(**dataclasses.asdict(filters), from_ms=from_ms, until_ms=until_ms, group_by=by)

    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = query(wanted)
        if not found.rows and (resolved := wanted.resolved(mesh)) != wanted:
            found = query(resolved)
    if json_:
        rows = [
            {
                "group": row.group,
                "requests": row.requests,
                "usage": usage_by_unit(row.usage),
                "cost_nanos": row.usage.cost_nanos,
            }
            for row in found.rows
        ]
        print_json({"total_nanos": found.total_nanos, "rows": rows})
        return
    table = [
        [
            row.group or "all",
            str(row.requests),
            ", ".join(f"{unit} {amount}" for unit, amount in usage_by_unit(row.usage).items()),
            dollars(row.usage.cost_nanos),
        ]
        for row in found.rows
    ]
    print_table(
        [by or "spend", "requests", "units", "cost"], table, empty="nothing spent", wide=wide, folding=["units"]
    )
    print_text(f"total {dollars(found.total_nanos)} ({found.total_nanos} nano-dollars)")


@app.command()
@reported
def export(
    csv: Annotated[Path, typer.Option("--csv", help="The file to write, or - for standard output.", dir_okay=False)],
    key: _KeyOption = "",
    tenant: _TenantOption = "",
    user: _UserOption = "",
    run: _RunOption = "",
    model: _ModelOption = "",
    service: _ServiceOption = "",
    since: _SinceOption = None,
    until: _UntilOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Write all usage records to a CSV file. The file is complete or not written at all."""
    size = 0
    from_ms, until_ms = period_milliseconds(since, until)
    wanted = SpendFilters(key_id=key, tenant_id=tenant, user_id=user, run_id=run, model=model, service=service)

    def exported(filters: SpendFilters) -> Iterator[bytes]:
        return mesh.billing.export_spend(**dataclasses.asdict(filters), from_ms=from_ms, until_ms=until_ms)

    with connect(url=url, api_key=api_key, data=data) as mesh, _atomic_file(csv) as file:
        parts = exported(wanted)
        # The headings come first, and alone if there are no records.
        start = list(itertools.islice(parts, 2))
        if len(start) < 2 and (resolved := wanted.resolved(mesh)) != wanted:
            start, parts = [], exported(resolved)
        for part in itertools.chain(start, parts):
            size += file.write(part)
    if str(csv) == "-":
        return
    if json_:
        print_json({"file": str(csv), "bytes": size})
    else:
        print_text(f"{csv}: {size} bytes")


@contextlib.contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when the block ends without an error."""
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file  # type: ignore[misc]
        os.replace(file.name, path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise

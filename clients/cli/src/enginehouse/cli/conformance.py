"""The command `conformance`: check that an engine in any language keeps the engine protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.values import MAX_INT32, decimal_option, whole_option
from enginehouse.kit.conformance import (
    ENVIRONMENT_PREFIX,
    ConformanceOptions,
    ConformanceRule,
    RuleResult,
    StartError,
    chosen_rules,
    failures,
    result_line,
    run,
    summary_line,
    write_junit,
)

_PLACEHOLDERS = (
    "{listen}, {host}, {port}, {router}, {gateway}, {grant_keys}, {spool}, {engine_id}, {directory}, {config}"
)


@reported
def conformance(
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="A gRPC service of the engine, as package.Service; repeatable."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="HOST:PORT",
            help="Where the engine serves.  [default: with --command, a free port of 127.0.0.1]",
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            help="Start the engine with this command, which must become the engine's process: signals go to it. "
            f"Placeholders: {_PLACEHOLDERS}; in its environment as {ENVIRONMENT_PREFIX}LISTEN and so on. "
            "Needed by the rules that stop and kill the engine.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            exists=True,
            dir_okay=False,
            help="A template of the engine's configuration file. It is written with the same placeholders replaced; "
            "{config} is its path.",
        ),
    ] = None,
    grant_keys: Annotated[
        Path | None,
        typer.Option(
            "--grant-keys",
            exists=True,
            dir_okay=False,
            help="The file of the keys that the engine verifies grants with, lines of `key-id:base64 secret`.  "
            "[default: with --command, a new file of two keys]",
        ),
    ] = None,
    router_listen: Annotated[
        str | None,
        typer.Option(
            "--router-listen",
            metavar="HOST:PORT",
            help="Serve UsageService here: the address that the engine reports to.  [default: with --command, a free "
            "port]",
        ),
    ] = None,
    gateway_listen: Annotated[
        str | None,
        typer.Option(
            "--gateway-listen",
            metavar="HOST:PORT",
            help="Serve RegistryService here: the address that the engine registers at.  [default: with --command, a "
            "free port]",
        ),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(
            "--request",
            exists=True,
            dir_okay=False,
            help='Request examples, JSON by method: {"Generate": {"request": {...}, "long_request": {...}, '
            '"invalid_request": {...}, "models": [...]}}. A request is protobuf\'s JSON, a list of them where the '
            'client streams, {"json": ...} for HttpBody. The long request should take two seconds: rules interrupt it. '
            "Methods without an example are tried with what their descriptors allow.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="A model that grants may name, besides those that the engine registers; repeatable."
        ),
    ] = None,
    max_message_bytes: Annotated[
        int | None,
        whole_option(
            "--max-message-bytes",
            least=1024,
            most=MAX_INT32,
            help="The size of the largest request message that it takes.",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", help="Check this rule, or this family of rules, such as `grant`; repeatable."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the rules, check nothing.")] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", dir_okay=False, help="Write the results here as JUnit XML.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            file_okay=False,
            help="Keep the keys, the spool, the configuration and the engine's log here.  [default: a folder that is "
            "removed at the end]",
        ),
    ] = None,
    start_s: Annotated[
        float, decimal_option("--start-timeout", least=1, most=3600, help="Seconds that the engine may take to start.")
    ] = 60.0,
    patience_s: Annotated[
        float,
        decimal_option(
            "--patience", least=0.5, most=3600, help="Seconds to wait for an answer or a report before a rule fails."
        ),
    ] = 10.0,
    json_: JsonFlag = False,
) -> None:
    """Check from outside that an engine in any language keeps the protocol of docs/engine-protocol.md.

    The suite plays router and gateway towards the engine, signs grants, and calls it. It prints a line for each rule:
    ok, FAIL with the reason, or skip with what is missing. The exit status is 1 if any rule failed.

    With the command, every rule can be checked: `enginehouse conformance --service my.v1.Service --command "./my-engine
    --config {config}" --config template.yaml --request requests.json`. Of an engine that runs already, the rules that
    need more than `--target` are skipped until the rest is given.
    """
    if list_:
        _print_rules(chosen_rules(rule or ()), as_json=json_)
        return
    if junit is not None and not junit.parent.is_dir():
        raise ValueError(f"{junit}: the folder {junit.parent} does not exist")
    options = ConformanceOptions(
        services=tuple(service or ()),
        target=target,
        command=command,
        config=config,
        grant_keys=grant_keys,
        router_listen=router_listen,
        gateway_listen=gateway_listen,
        request_file=request,
        models=tuple(model or ()),
        max_message_bytes=max_message_bytes,
        rules=tuple(rule or ()),
        directory=directory,
        start_s=start_s,
        patience_s=patience_s,
    )

    def finished(result: RuleResult) -> None:
        if not json_:
            print_text(result_line(result))

    try:
        results = run(options, finished=finished)
    except StartError as error:
        raise ValueError(str(error)) from None
    if junit is not None:
        write_junit(results, junit, target=target or command or "")
    failed = failures(results)
    if json_:
        print_json({"passed": not failed, "results": [_shown(result) for result in results]})
    else:
        print_text(summary_line(results))
    if failed:
        raise typer.Exit(1)


def _shown(result: RuleResult) -> dict[str, object]:
    return {
        "rule": result.rule.id,
        "verdict": result.verdict.name.lower(),
        "reason": result.reason,
        "seconds": round(result.seconds, 3),
    }


def _print_rules(rules: list[ConformanceRule], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "rule": rule.id,
                    "title": rule.title,
                    "sentence": rule.sentence,
                    "needs": sorted(need.value for need in rule.needs),
                }
                for rule in rules
            ]
        )
        return
    for rule in rules:
        print_text(f"{rule.id:<28}  {rule.sentence}")

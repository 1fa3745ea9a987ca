"""The command line with all its commands."""

from __future__ import annotations

import importlib.metadata
import platform

import typer

from enginehouse.cli import (
    audit,
    budgets,
    cache,
    experiments,
    explain,
    flags,
    keys,
    lifecycle,
    models,
    policies,
    prices,
    rollouts,
    spend,
    tenants,
    users,
    voices,
)
from enginehouse.cli.chat import chat
from enginehouse.cli.conformance import conformance
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.say import say
from enginehouse.cli.transcribe import transcribe
from enginehouse.local.engines import find_engines


@reported
def version(json_: JsonFlag = False) -> None:
    """Show the versions of the installed distributions."""
    engines = {spec.distribution for spec in find_engines().values()}
    versions = {
        distribution.name: distribution.version
        for distribution in sorted(importlib.metadata.distributions(), key=lambda distribution: distribution.name)
        if distribution.name.startswith("enginehouse-") or distribution.name in engines
    }
    if json_:
        print_json({"version": versions["enginehouse-cli"], "python": platform.python_version(), "packages": versions})
        return
    for name, number in versions.items():
        print_text(f"{name} {number}")


def make_app() -> typer.Typer:
    """Return the command line with all its commands."""
    app = typer.Typer(
        name="enginehouse",
        help="Run and use a gRPC mesh of generative-AI engines.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for command in (lifecycle.up, lifecycle.down, lifecycle.status, lifecycle.logs):
        app.command()(command)
    app.command()(chat)
    app.command()(say)
    app.command()(transcribe)
    app.add_typer(voices.app, name="voices")
    app.add_typer(keys.app, name="keys")
    app.add_typer(tenants.app, name="tenants")
    app.add_typer(users.app, name="users")
    app.add_typer(audit.app, name="audit")
    app.add_typer(budgets.app, name="budgets")
    app.add_typer(spend.app, name="spend")
    app.add_typer(prices.app, name="prices")
    app.add_typer(prices.discounts_app, name="discounts")
    app.add_typer(models.app, name="models")
    app.command()(explain.explain)
    app.add_typer(policies.app, name="policies")
    app.add_typer(policies.feedback_app, name="feedback")
    app.add_typer(experiments.app, name="experiments")
    app.add_typer(rollouts.app, name="rollouts")
    app.add_typer(flags.app, name="flags")
    app.add_typer(cache.app, name="cache")
    app.command()(conformance)
    app.command()(version)
    return app

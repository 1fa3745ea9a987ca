"""The command `enginehouse-router`: serve, migrate, bootstrap-key, forget-engine, evaluate, evaluate-cache."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import orjson

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.server import run
from enginehouse.kit.telemetry import configure_logging, configure_tracing
from enginehouse.router.app import RouterService
from enginehouse.router.audit import AuditLog
from enginehouse.router.cache import add_evaluate_cache
from enginehouse.router.clock import wall_clock
from enginehouse.router.database import DatabaseUnavailable, migrate, open_database, translate_db_errors
from enginehouse.router.evaluation import add_evaluate
from enginehouse.router.identity import KeyHasher, KeyStore
from enginehouse.router.identity.bootstrap import bootstrap_key
from enginehouse.router.ledger import LedgerStore
from enginehouse.router.settings import RouterSettings

_Command = Callable[[RouterSettings, argparse.Namespace], Coroutine[Any, Any, int]]


async def _serve(settings: RouterSettings, arguments: argparse.Namespace) -> int:
    catalog, grant_keys = load_catalog(settings.catalog_file), GrantKeys.load(settings.grant_keys_file)
    hasher = _hasher(settings)
    database = open_database(settings.database_url, pool_size=settings.database_pool)
    configure_logging(process="router", level=settings.log_level)
    service = RouterService(
        settings=settings,
        database=database,
        catalog=catalog,
        grant_keys=grant_keys,
        hasher=hasher,
        tracing=configure_tracing(process="router", otlp_endpoint=settings.otlp_endpoint or None),
    )
    await service.start()
    await service.serve_until_signal()
    return 0


async def _migrate(settings: RouterSettings, arguments: argparse.Namespace) -> int:
    database = open_database(settings.database_url)
    try:
        with translate_db_errors():
            await migrate(database)
    finally:
        await database.dispose()
    return 0


async def _bootstrap_key(settings: RouterSettings, arguments: argparse.Namespace) -> int:
    database = open_database(settings.database_url)
    try:
        with translate_db_errors():
            await migrate(database)
            hasher = _hasher(settings)
            made = await bootstrap_key(
                keys=KeyStore(database=database),
                audit=AuditLog(database=database, seal_keys=hasher.seal_keys, clock=wall_clock),
                hasher=hasher,
                clock=wall_clock,
                name=arguments.name,
                tier=arguments.tier,
            )
    finally:
        await database.dispose()
    answer = {"id": made.key_id, "key": made.secret, "tenant_id": made.tenant_id}
    sys.stdout.write(orjson.dumps(answer).decode() + "\n")
    return 0


async def _forget_engine(settings: RouterSettings, arguments: argparse.Namespace) -> int:
    database = open_database(settings.database_url)
    try:
        with translate_db_errors():
            known = await LedgerStore(database=database, ttl_s=0).forget_engine(arguments.engine_id)
    finally:
        await database.dispose()
    if not known:
        sys.stderr.write(f"no engine {arguments.engine_id!r} is known to the ledger\n")
    return 0 if known else 1


def _hasher(settings: RouterSettings) -> KeyHasher:
    try:
        return KeyHasher.from_files(settings.key_pepper_file, old=settings.old_key_pepper_files)
    except OSError as error:
        raise ConfigError(f"router: key_pepper_file: {settings.key_pepper_file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"router: key_pepper_file: {settings.key_pepper_file}: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="enginehouse-router", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, about: str, runs: _Command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about)
        sub.add_argument(
            "--config", type=Path, default=None, help="the YAML file; without one, the environment and defaults count"
        )
        sub.set_defaults(run=runs)
        return sub

    command("serve", "Serve until SIGTERM. Brings the database to the newest tables first.", _serve)
    command("migrate", "Bring the database to the newest tables.", _migrate)
    bootstrap = command(
        "bootstrap-key",
        'Make the tenant "default" and a key with every scope; prints {"id", "key", "tenant_id"} as JSON.',
        _bootstrap_key,
    )
    bootstrap.add_argument("--name", default="bootstrap", help="the key's name")
    bootstrap.add_argument("--tier", default="enterprise", help="the tenant's tier, if it is made now")
    forget = command(
        "forget-engine",
        "Declare an engine lost with its disk, so that what its grants hold is released. Its unreported usage is "
        "then never billed.",
        _forget_engine,
    )
    forget.add_argument("engine_id", help="as it registered")
    add_evaluate(commands)
    add_evaluate_cache(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 2 for a bad configuration or bad input and 1 for PostgreSQL away."""
    parsed = _parser().parse_args(arguments)
    try:
        if hasattr(parsed, "offline"):
            return int(parsed.offline(parsed))
        settings = load(RouterSettings, section="router", path=parsed.config, environ=os.environ)
        return int(run(parsed.run(settings, parsed)))
    except ConfigError as error:
        sys.stderr.write(f"enginehouse-router: {error}\n")
        return 2
    except DatabaseUnavailable as error:
        sys.stderr.write(f"enginehouse-router: PostgreSQL does not answer ({error}); start it, or mend database_url\n")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())

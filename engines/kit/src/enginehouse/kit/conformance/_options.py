"""The options of a run: which engine, how it is reached or started, and what the suite may know of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from enginehouse.kit.addresses import parse_address, parse_listen
from enginehouse.kit.config import ConfigError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceOptions:
    """The facts that the suite is told of the engine under test.

    Attributes:
        services: full names of the gRPC services that are tested.
        target: `host:port` where the engine serves; None takes a free port, which the command is told as `{listen}`.
        command: starts the engine; None for an engine that runs already.
        config: a template of the engine's configuration file, in which the placeholders are replaced.
        grant_keys: the file of the keys that the engine verifies grants with; with a command, None makes one.
        router_listen: where the suite serves `UsageService`; None takes a free port, with a command.
        gateway_listen: where the suite serves `RegistryService`; None takes a free port, with a command.
        request_file: JSON with request examples by method.
        models: names that grants may carry, besides those that the engine registers.
        max_message_bytes: the size of the largest message that the engine takes.
        rules: ids, or starts of ids, of the rules to check; empty checks all.
        directory: where the keys, the spool, the configuration and the engine's log lie; None makes a folder that is
            removed at the end.
        start_s: how long the engine may take to start.
        patience_s: how long the suite waits for an answer or a report before the rule fails.
    """

    services: tuple[str, ...]
    target: str | None = None
    command: str | None = None
    config: Path | None = None
    grant_keys: Path | None = None
    router_listen: str | None = None
    gateway_listen: str | None = None
    request_file: Path | None = None
    models: tuple[str, ...] = ()
    max_message_bytes: int | None = None
    rules: tuple[str, ...] = ()
    directory: Path | None = None
    start_s: float = 60.0
    patience_s: float = 10.0

    def check(self) -> None:
        """Check that the options fit together.

        Raises:
            ConfigError: names the option and the fix.
        """
        if not self.services:
            raise ConfigError("no service: name one with --service package.Service")
        if self.target is None and self.command is None:
            raise ConfigError("no engine: give --target HOST:PORT of one that runs, or --command to start one")
        if self.config is not None and self.command is None:
            raise ConfigError("--config without --command: the file is for an engine that the suite starts")
        if self.target is not None:
            parse_address(self.target)
        for listen in (self.router_listen, self.gateway_listen):
            if listen is not None:
                parse_listen(listen)

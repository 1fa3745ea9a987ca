"""The command that starts an engine."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.engine._spec import EngineSpec


def run_engine(spec: EngineSpec[Any], arguments: Sequence[str] | None = None) -> int:
    """Run the command `serve --config FILE` of an engine until a signal ends it; return the exit status.

    Args:
        spec: the engine.
        arguments: the command line without the program's name; `sys.argv`'s if None.
    """
    # Imported here: whoever only reads specs does not wait for a server's libraries.
    from enginehouse.kit.engine._process import serve
    from enginehouse.kit.engine.context import EngineFailure
    from enginehouse.kit.loading import LoadError
    from enginehouse.kit.server import run
    from enginehouse.kit.telemetry import configure_logging
    from enginehouse.kit.usage import SpoolError

    summary = importlib.metadata.metadata(spec.distribution)["Summary"]
    parser = argparse.ArgumentParser(prog=spec.distribution, description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="serve the models of the catalog")
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
    options = parser.parse_args(arguments)
    try:
        config = load(spec.config, section=spec.kind, path=options.config, environ=os.environ)
        configure_logging(process=spec.kind, level=config.log_level)
        run(serve(spec, config, environ=os.environ))
    except (ConfigError, LoadError, SpoolError) as error:
        print(f"{spec.distribution}: {error}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return 2
    except EngineFailure:
        # It was logged as it happened.
        return 1
    return 0

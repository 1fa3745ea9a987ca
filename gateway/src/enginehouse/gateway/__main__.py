"""The command: `serve` runs the gateway, `bootstrap` prints what Envoy starts with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from enginehouse.gateway.config import GatewaySection
from enginehouse.kit.config import ConfigError, load
from enginehouse.kit.server import run
from enginehouse.kit.telemetry import configure_logging


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status (2 for a configuration that cannot be used)."""
    parser = argparse.ArgumentParser(prog="enginehouse-gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("serve", "run the gateway until SIGTERM"),
        ("bootstrap", "print Envoy's bootstrap as JSON, for `envoy -c FILE`"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, help="YAML file with a section `gateway`; without it, environment")
        if name == "bootstrap":
            command.add_argument("--node-id", default="envoy", help="what this Envoy calls itself (default: envoy)")
    options = parser.parse_args(arguments)
    try:
        section = load(GatewaySection, section="gateway", path=options.config, environ=os.environ)
        if options.command == "bootstrap":
            # Imported here: the other command has no use for it.
            from enginehouse.gateway.translate.bootstrap import bootstrap

            json.dump(bootstrap(section, node_id=options.node_id), sys.stdout, indent=2)
            sys.stdout.write("\n")
            return 0
        from enginehouse.gateway.server import serve

        configure_logging(process="gateway")
        run(serve(section))
    except ConfigError as error:
        sys.stderr.write(f"enginehouse-gateway: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

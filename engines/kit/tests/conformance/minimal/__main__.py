"""Starts the minimal engine from the suite's environment: `python -m ...minimal [--fault RULE]`."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from engines.kit.tests.conformance.minimal import engine, faults


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", help="break this rule")
    options = parser.parse_args()
    if options.fault:
        faults.FAULTS[options.fault].apply()
    told = {
        name.removeprefix("ENGINEHOUSE_CONFORMANCE_").lower(): value
        for name, value in os.environ.items()
        if name.startswith("ENGINEHOUSE_CONFORMANCE_")
    }
    asyncio.run(
        engine.serve(
            listen=told["listen"],
            router=told["router"],
            gateway=told["gateway"],
            keys=Path(told["grant_keys"]),
            spool=Path(told["spool"]),
            engine_id=told["engine_id"],
        )
    )


if __name__ == "__main__":
    main()

"""Start a Morse engine: `python -m toy_morse serve --config FILE`."""

from __future__ import annotations

import sys

from enginehouse.kit.engine import run_engine
from toy_morse.spec import SPEC


def main() -> int:
    """Run the command; return its exit status."""
    return run_engine(SPEC)


if __name__ == "__main__":
    sys.exit(main())

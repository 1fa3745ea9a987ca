"""Start a voice engine: `python -m enginehouse.engines.voice serve --config F`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from enginehouse.engines.voice.spec import SPEC
from enginehouse.kit.engine import run_engine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_engine(SPEC, arguments)


if __name__ == "__main__":
    sys.exit(main())

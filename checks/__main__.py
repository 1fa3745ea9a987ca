"""Run the checks: `python -m checks [NAME...]`. The status is 1 if any complains."""

from __future__ import annotations

import pathlib
import sys
import time

from checks import (
    contracts,
    cycles,
    layers,
    length,
    licences,
    names,
    namespace,
    places,
    promises,
    python,
    requirements,
    shell,
    unasync,
    vocabulary,
)

CHECKS = {
    "namespace": namespace.complaints,
    "layers": layers.complaints,
    "cycles": cycles.complaints,
    "names": names.complaints,
    "vocabulary": vocabulary.complaints,
    "length": length.complaints,
    "places": places.complaints,
    "promises": promises.complaints,
    "shell": shell.complaints,
    "licences": licences.complaints,
    "requirements": requirements.complaints,
    "unasync": unasync.complaints,
    "contracts": contracts.complaints,
    "lint": python.lint,
    "types": python.types,
}


def main() -> int:
    """Run all, or those named, to the end, whatever the first ones say."""
    root = pathlib.Path(__file__).resolve().parents[1]
    chosen = sys.argv[1:] or list(CHECKS)
    if unknown := sorted(set(chosen) - set(CHECKS)):
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen:
        started = time.monotonic()
        found = CHECKS[name](root)
        print(f"{'FAIL' if found else 'ok  '} {name} ({time.monotonic() - started:.1f} s)", flush=True)
        for complaint in found:
            print(f"     {complaint}", flush=True)
        if found:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

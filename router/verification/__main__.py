"""`python -m router.verification`: searches the model, or shows that the search finds what is broken on purpose."""

from __future__ import annotations

import argparse
import sys

from router.verification.protocol import Bounds, Protocol
from router.verification.search import Found, search, walk


def main() -> int:
    """The status is 1 if something was found that must never happen, or if a mutation was not."""
    parser = argparse.ArgumentParser(prog="python -m router.verification", description=__doc__)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--faults", type=int, default=1)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--extensions", type=int, default=0, help="how often an engine asks for more")
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--late-marks", action="store_true", help="watermarks are delayed as well")
    parser.add_argument("--rest-of", type=int, default=64, help="let one in so many states come to its end")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long; 0 for no bound")
    parser.add_argument("--mutations", action="store_true", help="break one rule at a time; each must be found")
    parser.add_argument("--seed", type=int, default=1, help="of the random paths")
    parser.add_argument("--walks", type=int, default=0, help="take so many random paths instead of every one")
    given = parser.parse_args()
    bounds = Bounds(
        replicas=given.replicas,
        requests=given.requests,
        faults=given.faults,
        draws=given.draws,
        limit=given.limit,
        late_marks=given.late_marks,
        extensions=given.extensions,
    )
    if given.mutations:
        from router.verification.mutations import MUTATIONS

        missed = 0
        for mutation in MUTATIONS:
            found = search(mutation(), rest_of=4, max_seconds=given.seconds)
            missed += not found.violation
            print(f"{mutation.__name__}: {_said(found)}")
        return 1 if missed else 0
    if given.walks:
        found = walk(Protocol(bounds), seed=given.seed, walks=given.walks)
    else:
        found = search(Protocol(bounds), rest_of=given.rest_of, max_seconds=given.seconds)
    print(_said(found))
    for step in found.trace:
        print(f"  {step}")
    return 1 if found.violation else 0


def _said(found: Found) -> str:
    how = found.violation or ("all of them" if found.complete else "not all of them")
    return f"{found.states:,} states, {found.steps:,} steps, {found.depth} deep, {found.seconds:.1f} s: {how}" + (
        f" ({len(found.trace)} steps)" if found.violation else ""
    )


if __name__ == "__main__":
    sys.exit(main())

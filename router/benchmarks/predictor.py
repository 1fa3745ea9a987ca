"""Microseconds of CPU for one prediction by the size of the prompt, and what loading the artefact takes.

Run: `python router/benchmarks/predictor.py [--json]`. Nothing is kept between two predictions. Of many batches the
quickest counts: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from enginehouse.router.predictor import SHIPPED, load_predictor

SIZES = (100, 1024, 8 * 1024, 64 * 1024)
_BATCH = 20
_BATCHES = 200
_WORDS = (
    "Tell me a story about a clever crow who lived by the river and helped {n} farmers measure their fields. ",
    "The defendant asked whether the contract of May {n} could be enforced although neither party had signed it. ",
    "How much energy is stored in a capacitor of {n} microfarads after its voltage has doubled? ",
    "Compare the treatment of chronic hypertension in patients older than {n} years with that of younger ones. ",
)


def prompts(size: int, count: int) -> list[str]:
    """Different prompts of that many characters, over several subjects."""
    made = []
    for number in range(count):
        sentences = (_WORDS[(number + place) % len(_WORDS)].format(n=number + place) for place in range(size // 80 + 1))
        made.append("".join(sentences)[:size])
    return made


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    began = time.process_time()
    predictor = load_predictor()
    told = {"load_ms": (time.process_time() - began) * 1e3, "artefact_bytes": float(SHIPPED.stat().st_size)}
    for size in SIZES:
        batch = prompts(size, _BATCH)
        taken = []
        for _ in range(_BATCHES):
            began = time.process_time()
            for prompt in batch:
                predictor.predict([prompt])
            taken.append((time.process_time() - began) / _BATCH * 1e6)
        told[f"{size}_characters_us"] = min(taken)
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    for name, value in told.items():
        sys.stdout.write(f"{name:24}{value:12.1f}\n")


if __name__ == "__main__":
    main()

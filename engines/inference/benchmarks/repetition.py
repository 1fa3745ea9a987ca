"""The share of repetition in SmolLM2's stories at several samplings.

`python engines/inference/benchmarks/repetition.py` tells eight stories at each. The output is Markdown; `--texts` adds
the stories, for reading.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Sampling
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece
from enginehouse.engines.inference.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel, load_catalog
from enginehouse.kit.server import run as run_to_end

_CATALOG = Path(__file__).parents[1] / "src/enginehouse/engines/inference/catalog.yaml"
_TOKENS = 400
_PROMPTS = (
    "Tell me a story about a clever crow",
    "Write a short story about a lighthouse keeper who finds a message in a bottle.",
    "Tell me a story about a girl who plants a seed that grows overnight.",
    "Write a story about two brothers and a lost goat.",
    "Tell a bedtime story about the moon.",
    "Write a short story about a robot that learns to paint.",
    "Tell me a story about a fox and an old tortoise by the river.",
    "Write a story about a baker whose bread makes people tell the truth.",
)
_SAMPLINGS: Mapping[str, Mapping[str, Any] | None] = {
    "temperature 0.5, no penalty": {"temperature": 0.5, "top_p": 0.9},
    "temperature 0.4, repeat_penalty 1.1 over 128 tokens": {
        "temperature": 0.4,
        "repeat_penalty": 1.1,
        "repeat_last_n": 128,
    },
    "temperature 0.7, repeat_penalty 1.1 over 256 tokens": {
        "temperature": 0.7,
        "repeat_penalty": 1.1,
        "repeat_last_n": 256,
    },
    "the catalog's": None,
}


async def _stories(model: CatalogModel, backend: LlamaCppBackend) -> list[tuple[str, bool]]:
    """Return each story, and whether it ended by itself."""
    loaded = await backend.load(model)

    async def tell(seed: int, prompt: str) -> tuple[str, bool]:
        message = Message(role=generation_pb2.ROLE_USER, content=prompt)
        prepared = await loaded.prepare(GenerateRequest(messages=[message], sampling=Sampling(seed=seed)))
        text, ended = "", False
        async for events in loaded.generate(prepared, max_output_tokens=_TOKENS):
            for event in events:
                if isinstance(event, OutputPiece):
                    text += event.text
                    ended |= event.finish is FinishReason.STOP
        return text, ended

    try:
        return await asyncio.gather(*(tell(100 + number, prompt) for number, prompt in enumerate(_PROMPTS)))
    finally:
        await loaded.close()


def _new_runs(text: str) -> float:
    """Return the share of the runs of four words that occur for the first time: 1 without any repetition."""
    words = re.findall(r"[a-z']+", text.lower())
    runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    return len(set(runs)) / max(1, len(runs))


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", action="store_true", help="print the stories too")
    texts = parser.parse_args().texts
    model = load_catalog(_CATALOG).get("smollm2-135m")
    assert model is not None
    sys.stdout.write("| sampling | new runs of four words: mean, lowest | ended by themselves |\n|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        packages = PackagedWeights(table=SPEC.read_weights(), models_dir=Path(folder))
        backend = LlamaCppBackend(models_dir=Path(folder), packages=packages)
        for name, sampling in _SAMPLINGS.items():
            options = {**model.options, "slots": len(_PROMPTS)}
            if sampling is not None:
                options["sampling"] = sampling
            told = await _stories(dataclasses.replace(model, options=options, context_tokens=1024), backend)
            shares = [_new_runs(text) for text, _ in told]
            ended = sum(done for _, done in told)
            sys.stdout.write(
                f"| {name} | {sum(shares) / len(shares):.3f}, {min(shares):.3f} | {ended} of {len(told)} |\n"
            )
            if texts:
                sys.stdout.write("".join(f"\n{text}\n" for text, _ in told))
            sys.stdout.flush()


if __name__ == "__main__":
    run_to_end(_main())

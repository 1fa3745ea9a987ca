"""The share of input that comes from engines' prompt caches, with prefix affinity and without, over two engines.

Run: `python router/benchmarks/affinity.py [--json]`. It starts a mesh of its own twice, with real engines and the
bundled model, and asks each of many assistants (a system prompt each) a few questions, in a random order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import httpx
import yaml

ASSISTANTS = 40
QUESTIONS = 5
AT_ONCE = 4
COMMAND = str(pathlib.Path(sys.executable).parent / "enginehouse")
RULES = (
    "You are assistant number {number}. Answer in short sentences, stay with the subject, and never invent a source. "
    "Where you do not know, say so. Explain each step to a reader of {age} who likes stories about {animal}s, begin "
    "with what the reader can see, and end with a question. Use metric units. Keep names as they were given. "
)
ANIMALS = ("crow", "fox", "heron", "otter", "hedgehog", "ox", "mouse", "crane")


def assistants() -> list[str]:
    """System prompts that differ from the first words on, some 250 tokens each."""
    return [
        (RULES.format(number=number, age=8 + number % 9, animal=ANIMALS[number % len(ANIMALS)]) * 2)
        for number in range(ASSISTANTS)
    ]


async def measure(url: str, key: str) -> dict[str, float]:
    """The share of prompt tokens that came from a cache, and the median time of an answer."""
    asked = [(system, f"Question {number}: what is a river?") for system in assistants() for number in range(QUESTIONS)]
    random.Random(7).shuffle(asked)
    prompt = cached = 0
    times: list[float] = []
    pending = iter(asked)
    async with httpx.AsyncClient(base_url=url, timeout=120, headers={"authorization": f"Bearer {key}"}) as client:

        async def work() -> None:
            nonlocal prompt, cached
            for system, question in pending:
                messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
                began = time.perf_counter()
                body = {"model": "enginehouse-tiny", "messages": messages, "max_tokens": 4, "temperature": 0}
                answer = await client.post("/v1/chat/completions", json=body)
                times.append(time.perf_counter() - began)
                answer.raise_for_status()
                usage = answer.json()["usage"]
                prompt += usage["prompt_tokens"]
                cached += usage["prompt_tokens_details"]["cached_tokens"]

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return {
        "requests": len(asked),
        "prompt_tokens": prompt,
        "cached_share": round(cached / prompt, 3),
        "median_ms": round(statistics.median(times) * 1000, 1),
    }


def with_mesh(affinity_characters: int) -> dict[str, float]:
    """Measure on a fresh mesh of two engines."""
    # A short path: PostgreSQL's socket lies below it.
    data = pathlib.Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    config = data.with_suffix(".yaml")
    health = {"affinity_characters": affinity_characters}
    config.write_text(yaml.safe_dump({"router": {"health": health}, "local": {"engines": {"inference": 2}}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--data", str(data)]
    try:
        up = [COMMAND, "up", *where, "--port", str(port), "--config", str(config), "--detach"]
        subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
        lines = (data / "dev.env").read_text().splitlines()
        environment = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        key = environment["ENGINEHOUSE_API_KEY"].strip("'\"")
        return asyncio.run(measure(f"http://127.0.0.1:{port}", key))
    finally:
        subprocess.run([COMMAND, "down", *where], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(data, ignore_errors=True)
        config.unlink(missing_ok=True)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {"without affinity": with_mesh(0), "with affinity": with_mesh(256)}
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, figures in found.items():
        sys.stdout.write(f"{name:18} {figures}\n")


if __name__ == "__main__":
    main()

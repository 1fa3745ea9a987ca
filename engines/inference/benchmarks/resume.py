"""The cost of continuing cut answers, and their exactness: `python engines/inference/benchmarks/resume.py`.

Two llama.cpp servers with the bundled model run in this process, with one thread each. The output is Markdown.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Resume, Sampling
from enginehouse.engines.inference.backends.llamacpp._bodies import sampling_body
from enginehouse.engines.inference.backends.llamacpp._options import LlamaCppOptions, SamplingDefaults
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan
from enginehouse.engines.inference.backends.llamacpp._run import run
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.backends.llamacpp._steps import run_steps
from enginehouse.engines.inference.generation.events import OutputPiece
from enginehouse.kit.server import run as run_to_end

_WEIGHTS = Path(__file__).parents[1] / "src/enginehouse/engines/inference/bundled/enginehouse-tiny.gguf"
_CONTEXT = 512
_WORDS = ("Once", "upon", "a", "time", "there", "was", "crow", "who", "lived", "in", "the", "forest", "near", "fox")
_ANSWERS = 60
_LENGTH = 120
_TURNS = 5


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _load(*, resumable: bool) -> LlamaCppServer:
    options = LlamaCppOptions(threads=1, resumable=resumable)
    return LlamaCppServer.load(_WEIGHTS, context_tokens=_CONTEXT, embedding=False, options=options)


async def _plan(server: LlamaCppServer, prompt: str, request: GenerateRequest) -> RequestPlan:
    tokens = await server.tokenize(prompt, special=True)
    body = sampling_body(request, SamplingDefaults()) | {"prompt": tokens, "cache_prompt": True}
    greedy = request.sampling.temperature == 0
    return RequestPlan(
        chat=False, body=body, input_tokens=len(tokens), constrained=False, resumable=True, greedy=greedy
    )


async def _tokens(server: LlamaCppServer, plan: RequestPlan, request: GenerateRequest, length: int) -> list[int]:
    made: list[int] = []
    async for events in run_steps(server, plan, request, max_output_tokens=length):
        for event in events:
            if isinstance(event, OutputPiece):
                made.extend(event.token_ids)
    return made


async def _exactness(*, resumable: bool) -> tuple[int, int]:
    """Return how many of so many continued answers differ from the uncut ones."""
    one, other = (
        await asyncio.to_thread(_load, resumable=resumable),
        await asyncio.to_thread(_load, resumable=resumable),
    )
    chance = random.Random(1)
    differ = 0
    for number in range(_ANSWERS):
        prompt = " ".join(chance.choice(_WORDS) for _ in range(chance.randint(3, 60)))
        sampling = Sampling(temperature=0) if number % 3 == 0 else Sampling(temperature=1, top_k=0, top_p=1, min_p=0)
        sampling.seed = number
        request = GenerateRequest(sampling=sampling)
        plan = await _plan(one, prompt, request)
        whole = await _tokens(one, plan, request, _LENGTH)
        cut = chance.randint(1, max(1, len(whole) - 1))
        request.resume.CopyFrom(Resume(token_ids=whole[:cut]))
        rest = await _tokens(other, plan, request, _LENGTH - cut)
        differ += whole[:cut] + rest != whole
    await asyncio.gather(one.close(), other.close())
    return differ, _ANSWERS


async def _speed(server: LlamaCppServer, *, steps: bool, temperature: float, streams: int) -> float:
    """Return the tokens a second, over all streams: the best of several turns, since the machine is shared."""
    request = GenerateRequest(sampling=Sampling(temperature=temperature, seed=3, repeat_penalty=1.2))

    async def one(number: int) -> int:
        plan = await _plan(server, f"Once upon a time {number}", request)
        if steps:
            return len(await _tokens(server, plan, request, 300))
        made = 0
        async for events in run(server, plan, request, slots=4, max_output_tokens=300):
            made += sum(event.tokens for event in events if isinstance(event, OutputPiece))
        return made

    best = 0.0
    for _ in range(_TURNS):
        began = time.monotonic()
        made = sum(await asyncio.gather(*(one(number) for number in range(streams))))
        best = max(best, made / (time.monotonic() - began))
    return best


async def _main() -> None:
    _say("| prompts are read in steps of | continued answers | that differ |\n|---|---|---|")
    for resumable, size in ((True, 32), (False, 512)):
        differ, answers = await _exactness(resumable=resumable)
        _say(f"| {size} tokens | {answers} | {differ} |")
    server = await asyncio.to_thread(_load, resumable=True)
    _say("\n| tokens/s | 1 stream | 4 streams |\n|---|---|---|")
    for name, steps, temperature in (
        ("ordinary", False, 0.8),
        ("resumable, sampled", True, 0.8),
        ("resumable, greedy", True, 0.0),
    ):
        rates = [await _speed(server, steps=steps, temperature=temperature, streams=streams) for streams in (1, 4)]
        _say(f"| {name} | {rates[0]:,.0f} | {rates[1]:,.0f} |")
    await server.close()


if __name__ == "__main__":
    run_to_end(_main())

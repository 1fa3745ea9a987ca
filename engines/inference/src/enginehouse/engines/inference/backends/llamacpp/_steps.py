"""A resumable generation on llama.cpp, made in steps that depend only on the tokens before them.

llama.cpp's own streams cannot be continued. The state of their random numbers is not accessible, and they hold back the
ids of tokens that end within a character. So a resumable answer is made by a request of its own for each step, which
share one slot's cache: the tokens so far are the prompt, and the next ones the output. Each token is sampled with a
seed of its own, derived from the request's seed and the token's position. So whoever has the tokens can go on exactly,
provided that the arithmetic is exact (`_exactness`).

Tokens are released together with whole characters and with text that cannot begin a stop text, so a resumed answer
needs no state but its tokens.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, TokenLogprob
from enginehouse.engines.inference.backends.llamacpp._chunks import read_logprob, to_error
from enginehouse.engines.inference.backends.llamacpp._numbers import TokenNumbers
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.engines.inference.generation.stops import overlap

# llama.cpp's value for "no seed".
_NO_SEED = 2**32 - 1
# Greedy answers of fast models take several tokens a step: as many as the model makes in this time.
_STEP_S = 0.03
_MAX_TOKENS_PER_STEP = 16
# The replacement for bytes that are not a whole character, and the number of tokens that a character can span.
_BROKEN = "\ufffd"
_MAX_BROKEN = 8
_FIELDS = ["content", "tokens", "stop_type", "tokens_predicted"]


async def run_steps(
    server: LlamaCppServer, plan: RequestPlan, request: GenerateRequest, *, max_output_tokens: int, choice: int = 0
) -> AsyncGenerator[list[GenerationEvent], None]:
    """Run a plan without a grammar and yield each step's events, as `LoadedTextModel.generate` does.

    Args:
        server: the loaded model.
        plan: the request as llama.cpp takes it; its prompt is token ids.
        request: the request; the tokens that it resumes from are read after the prompt.
        max_output_tokens: the bound on the tokens to make, at least 1.
        choice: the number of the choice to make.
    """
    tokens = [*plan.body["prompt"], *request.resume.token_ids]
    cached = await read_prompt(server, tokens)
    # Counted with the first tokens: an engine that dies before it has sent any must have spent nothing.
    events: list[GenerationEvent] = [
        TokenCounts(input_tokens=len(tokens), cached_input_tokens=min(cached, len(tokens)))
    ]
    release = _Release(server, plan.stops, choice=choice)
    top = request.top_logprobs if request.logprobs else -1
    numbers = TokenNumbers(server, top=top) if top >= 0 else None
    several = plan.greedy and not plan.stops and numbers is None
    seeded = request.sampling.HasField("seed") and not plan.greedy
    step, made = 1, 0
    while True:
        began = time.monotonic()
        step = min(step, max_output_tokens - made)
        seed = {}
        if seeded:
            own = (request.sampling.seed + choice) % 2**32
            seed = {"seed": seed_at(own, len(tokens) - len(plan.body["prompt"]))}
        answer = await _step(server, {**plan.body, **seed, "prompt": tokens, "max_tokens": step}, plan.constrained)
        state = answer["__verbose"]
        ended = state["stop_type"] != "limit"
        new = state["tokens"][:-1] if state["stop_type"] == "eos" else state["tokens"]
        logprobs: list[TokenLogprob] = []
        if numbers is not None:
            logprobs = await _logprobs(numbers, answer, tokens, top=top)
        tokens.extend(new)
        made += state["tokens_predicted"]
        finish = FinishReason.STOP if ended else FinishReason.LENGTH if made >= max_output_tokens else None
        piece = OutputPiece(
            choice, state["content"], state["tokens_predicted"], finish=finish, logprobs=logprobs, token_ids=list(new)
        )
        released = await release.take(piece)
        if released is not None:
            yield [*events, released]
            events.clear()
            if released.finish is not None:
                return
        if several:
            step = max(1, min(_MAX_TOKENS_PER_STEP, int(_STEP_S * step / max(time.monotonic() - began, 1e-6))))


def seed_at(seed: int, position: int) -> int:
    """Return the seed of the sample at a position of the answer, from 0: every token has random numbers of its own."""
    digest = hashlib.blake2b(seed.to_bytes(4, "big") + position.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _NO_SEED


async def read_prompt(server: LlamaCppServer, tokens: Sequence[int]) -> int:
    """Read a prompt into a slot's cache; return how many of its tokens were there. Cancelling stops it."""
    progress: list[bytes] = []
    left = False

    def on_chunk(data: bytes) -> bool:
        progress.append(data)
        return left

    body = {
        "prompt": list(tokens),
        "max_tokens": 1,
        "temperature": 0,
        "stream": True,
        "return_progress": True,
        "timings_per_token": True,
        "cache_prompt": True,
    }
    try:
        await asyncio.wrap_future(server.stream(chat=False, body=orjson.dumps(body), on_chunk=on_chunk))
    finally:
        left = True
    first = orjson.loads(progress[0])
    if "error" in first:
        raise to_error(first["error"], constrained=False)
    return int(first["prompt_progress"]["cache"] if "prompt_progress" in first else first["timings"]["cache_n"])


async def _logprobs(
    numbers: TokenNumbers, answer: dict[str, Any], before: Sequence[int], *, top: int
) -> list[TokenLogprob]:
    """Return the entry of a step's one token, also of an answer's last, which is no part of its text."""
    given = (answer["choices"][0].get("logprobs") or {}).get("content") or ()
    entries: list[TokenLogprob] = []
    for token in answer["__verbose"]["tokens"]:
        if given and given[0]["id"] == token:
            entries.append(read_logprob(given[0], top))
        else:
            entries.append(await numbers.at(before, token))
    return entries


async def _step(server: LlamaCppServer, body: dict[str, Any], constrained: bool) -> dict[str, Any]:
    chunks: list[bytes] = []

    def on_chunk(data: bytes) -> bool:
        chunks.append(data)
        return False

    body |= {"stream": False, "verbose": True, "return_tokens": True, "response_fields": _FIELDS}
    await asyncio.wrap_future(server.stream(chat=False, body=orjson.dumps(body), on_chunk=on_chunk))
    answer: dict[str, Any] = orjson.loads(chunks[0])
    if "error" in answer:
        raise to_error(answer["error"], constrained=constrained)
    return answer


class _Release:
    """A buffer that releases tokens as soon as their text is whole and cannot begin a stop text.

    Args:
        server: decodes tokens.
        stops: texts that end the answer.
        choice: the number of the choice.
    """

    def __init__(self, server: LlamaCppServer, stops: Sequence[str], *, choice: int) -> None:
        self._server = server
        self._stops = stops
        self._choice = choice
        self._held = OutputPiece(choice)
        self._broken = False

    async def take(self, piece: OutputPiece) -> OutputPiece | None:
        """Return the tokens to release, including those held before; None if all of them wait."""
        held = OutputPiece(
            self._choice,
            self._held.text + piece.text,
            self._held.tokens + piece.tokens,
            finish=piece.finish,
            logprobs=[*self._held.logprobs, *piece.logprobs],
            token_ids=[*self._held.token_ids, *piece.token_ids],
        )
        self._held = OutputPiece(self._choice)
        if self._broken or _BROKEN in piece.text:
            held.text = await self._server.detokenize(held.token_ids)
            self._broken = held.text.endswith(_BROKEN) and len(held.token_ids) < _MAX_BROKEN * _MAX_TOKENS_PER_STEP
        found = [at for stop in self._stops if (at := held.text.find(stop)) >= 0]
        if found:
            return _cut(held, min(found))
        if held.finish is None and (self._broken or any(overlap(held.text, stop) for stop in self._stops)):
            self._held = held
            return None
        return held


def _cut(piece: OutputPiece, size: int) -> OutputPiece:
    """Return the piece up to a stop text, where the answer ends."""
    kept: list[TokenLogprob] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    length = 0
    for entry in piece.logprobs:
        length += len(decoder.decode(entry.bytes))
        if length > size:
            break
        kept.append(entry)
    return OutputPiece(piece.index, piece.text[:size], piece.tokens, finish=FinishReason.STOP, logprobs=kept)

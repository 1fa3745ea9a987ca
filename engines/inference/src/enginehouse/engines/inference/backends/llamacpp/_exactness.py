"""A measurement of whether a loaded model computes the same numbers however its work is divided, and a digest of them.

A cut stream is continued on another engine. There the tokens that were generated one by one here come as a prompt, read
in large steps beside other requests. If a step's shape changes the order of additions, last bits differ, and with them,
now and then, a token. Which shapes matter depends on the kernels that this machine's processor gets, so it is measured
at start.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import orjson

from enginehouse.engines.inference.backends.llamacpp._chunks import to_error
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer

_TEXT = (
    "Seven grey herons stood in the shallows and waited. నదిలో నీళ్ళు మెల్లగా పారుతున్నాయి. "
    "for i in range(10): print(i * i)  # 0, 1, 4, 9, 16\n"
    "The ferryman counted 1,204 coins twice, wrote the sum on a leaf, and asked whether anyone had seen his oars. "
    "\u201cThey are where you left them,\u201d said the youngest; \u201cunder the boat.\u201d"
)
# More than the widest step whose results are known to differ, and enough single steps to notice a difference. A model's
# first call waits for it.
_TOKENS = 72
_SINGLE = 6
_LOGPROBS = 8


async def measure_exactness(server: LlamaCppServer, *, context_tokens: int) -> bytes:
    """Return a digest of the model's numbers for a fixed text; empty if they depend on how the work is divided.

    Equal digests on two engines mean that weights, build and processor compute the same numbers.
    """
    # Backwards, so that no prompt begins like this one and finds a part of it in the cache.
    tokens = (await server.tokenize(_TEXT, special=False))[::-1][: min(_TOKENS, context_tokens - 1)]
    if len(tokens) <= _SINGLE:
        return b""
    whole = await _next_token(server, tokens, cached=False)
    if not whole:
        return b""
    # Concurrently, so that the steps also share batches with another request's.
    one_by_one, _ = await asyncio.gather(_one_by_one(server, tokens), _one_by_one(server, tokens[1:]))
    return hashlib.sha256(whole).digest() if one_by_one == whole else b""


async def _one_by_one(server: LlamaCppServer, tokens: Sequence[int]) -> bytes:
    numbers = b""
    for end in range(len(tokens) - _SINGLE, len(tokens) + 1):
        numbers = await _next_token(server, tokens[:end], cached=end > len(tokens) - _SINGLE)
    return numbers


async def _next_token(server: LlamaCppServer, tokens: Sequence[int], *, cached: bool) -> bytes:
    """Return the likeliest next tokens and the bits of their log probabilities; empty if llama.cpp reports none."""
    chunks: list[bytes] = []

    def on_chunk(data: bytes) -> bool:
        chunks.append(data)
        return False

    body = {
        "prompt": list(tokens),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": _LOGPROBS,
        # A control token would come without its numbers, so a token of the text is forced; the numbers precede that.
        "logit_bias": [[tokens[0], 10_000.0]],
        "cache_prompt": cached,
    }
    await asyncio.wrap_future(server.stream(chat=False, body=orjson.dumps(body), on_chunk=on_chunk))
    answer = orjson.loads(chunks[0])
    if "error" in answer:
        raise to_error(answer["error"], constrained=False)
    given = answer["choices"][0]["logprobs"]
    ranked = given["content"][0]["top_logprobs"] if given else []
    return orjson.dumps([[entry["id"], entry["logprob"]] for entry in ranked]) if ranked else b""

"""Log probabilities of given tokens, one question to llama.cpp for each.

llama.cpp reports the numbers of the tokens that it samples, and not of those in a prompt. So each token is made the
certain choice after those before it: the numbers are the model's own, before any change of them. Two kinds of token are
not reported when they are chosen: one that ends within a character is then looked for among the alternatives.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson

from enginehouse.api.inference.v1.generation_pb2 import TokenLogprob
from enginehouse.engines.inference.backends.llamacpp._chunks import read_logprob, to_error
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.kit.errors import Reason, ServiceError

# More than any difference between logits.
_CERTAIN = 10_000.0
# Numbers of alternatives to search, the last more than any vocabulary has: a whole one takes a second to write out.
_SEARCHED = (256, 2**24)
_BATCH = 16


class TokenNumbers:
    """A reader of log probabilities.

    Args:
        server: the loaded model.
        top: the number of alternatives of each token.
    """

    def __init__(self, server: LlamaCppServer, *, top: int) -> None:
        self._server = server
        self._top = top
        self._plain: int | None = None

    async def prompt(self, tokens: Sequence[int], *, added: int) -> AsyncGenerator[list[TokenLogprob], None]:
        """Yield the log probabilities of a prompt's tokens, in batches. The first has none.

        Args:
            tokens: the prompt, not empty.
            added: how many tokens at its beginning are no part of its text.
        """
        batch: list[TokenLogprob] = []
        for position, token in enumerate(tokens):
            if position == 0:
                entry = await self.at([await self._plain_token()], token)
                entry = TokenLogprob(token=entry.token, bytes=entry.bytes, unscored=True)
            else:
                entry = await self.at(tokens[:position], token)
            if position >= added and not entry.bytes:
                # A control word that stands in the text.
                entry.token = await self._server.detokenize([token])
                entry.bytes = entry.token.encode()
            batch.append(entry)
            if len(batch) == _BATCH or position == len(tokens) - 1:
                yield batch
                batch = []

    async def at(self, before: Sequence[int], token: int) -> TokenLogprob:
        """Return the log probability of a token after those before it, of which there is at least one."""
        chosen = await self._ask(before, token, max(1, self._top))
        if chosen is not None and chosen["id"] == token:
            return read_logprob(chosen, self._top)
        plain = await self._plain_token()
        for count in _SEARCHED:
            other = await self._ask(before, plain, max(count, self._top))
            ranked: list[dict[str, Any]] = [] if other is None else other["top_logprobs"]
            for entry in ranked:
                if entry["id"] == token:
                    return read_logprob(entry | {"top_logprobs": ranked}, self._top)
        raise ServiceError(Reason.BACKEND_FAILED, f"llama.cpp reports no probability of token {token}")

    async def _plain_token(self) -> int:
        if self._plain is None:
            self._plain = (await self._server.tokenize("a", special=False))[0]
        return self._plain

    async def _ask(self, before: Sequence[int], token: int, top: int) -> dict[str, Any] | None:
        chunks: list[bytes] = []
        left = False

        def on_chunk(data: bytes) -> bool:
            chunks.append(data)
            return left

        body = {
            "prompt": list(before),
            "max_tokens": 1,
            "temperature": 0,
            "stream": True,
            "logprobs": top,
            "logit_bias": [[token, _CERTAIN]],
            "cache_prompt": True,
        }
        try:
            await asyncio.wrap_future(self._server.stream(chat=False, body=orjson.dumps(body), on_chunk=on_chunk))
        finally:
            left = True
        for data in chunks:
            chunk = orjson.loads(data)
            if "error" in chunk:
                raise to_error(chunk["error"], constrained=False)
            for choice in chunk.get("choices") or ():
                content = (choice.get("logprobs") or {}).get("content")
                if content:
                    entry: dict[str, Any] = content[0]
                    return entry
        return None

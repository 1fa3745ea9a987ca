"""The upstream backend: any provider that speaks OpenAI's HTTP API."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends._options import read_options
from enginehouse.engines.inference.backends._upstream_chunks import ChunkReader, estimated_tokens
from enginehouse.engines.inference.backends._upstream_errors import (
    ProviderFailure,
    from_answer,
    from_event,
    from_transport,
)
from enginehouse.engines.inference.backends._upstream_options import (
    Provider,
    UpstreamOptions,
    find_provider,
)
from enginehouse.engines.inference.backends._upstream_requests import most_input_tokens, to_body
from enginehouse.engines.inference.backends._upstream_sse import EventReader
from enginehouse.engines.inference.backends.base import Counts, Embedded, Event, Prepared
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

_LONGEST_BACKOFF_S = 8.0
_LONGEST_ERROR_BODY = 65_536


class UpstreamBackend:
    """Answers by asking a provider, with the key from the environment.

    Args:
        environ: where the providers' keys are.
        jitter: a number from 0 to 1 that spreads retries.
        first_wait_s: seconds before the first retry; each further one waits twice as long, up to 8 s.
    """

    name = "upstream"

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        jitter: Callable[[], float] = random.random,
        first_wait_s: float = 0.5,
    ) -> None:
        self._environ = environ
        self._jitter = jitter
        self._first_wait_s = first_wait_s

    async def load(self, model: CatalogModel) -> UpstreamModel:
        """Checks the model's options, its provider's address and key; sends nothing yet."""
        options = read_options(UpstreamOptions, model)
        provider = find_provider(model, options, environ=self._environ)
        headers = {"authorization": f"Bearer {provider.key}"} if provider.key else {}
        client = httpx.AsyncClient(
            headers=headers | {"content-type": "application/json"},
            timeout=httpx.Timeout(options.silence_timeout_s, connect=options.connect_timeout_s, pool=None),
            limits=httpx.Limits(max_connections=options.slots, max_keepalive_connections=options.slots),
        )
        return UpstreamModel(
            model=model,
            options=options,
            provider=provider,
            client=client,
            backoff_s=lambda attempt: (
                min(_LONGEST_BACKOFF_S, self._first_wait_s * 2**attempt) * (0.5 + self._jitter() / 2)
            ),
        )


class UpstreamModel:
    """One model of one provider."""

    def __init__(
        self,
        *,
        model: CatalogModel,
        options: UpstreamOptions,
        provider: Provider,
        client: httpx.AsyncClient,
        backoff_s: Callable[[int], float],
    ) -> None:
        self._model = model
        self._name = options.model or model.name
        self._options = options
        self._provider = provider
        self._client = client
        self._backoff_s = backoff_s

    @property
    def context_tokens(self) -> int:
        """What the catalog says; the provider has the last word."""
        return self._model.context_tokens

    @property
    def embedding_dimensions(self) -> int:
        """What the catalog says."""
        return self._options.embedding_dimensions

    @property
    def slots(self) -> int:
        """Connections to the provider."""
        return self._options.slots

    async def prepare(self, request: generation_pb2.GenerateRequest) -> Prepared:
        """The provider's form of the request. `input_tokens` is an upper bound: the tokenizer is the provider's."""
        body = to_body(request, model=self._name, options=self._options)
        most = most_input_tokens(request)
        return Prepared(request, most, body, likely_input_tokens=estimated_tokens(most))

    async def generate(self, prepared: Prepared, *, max_output_tokens: int) -> AsyncGenerator[Sequence[Event], None]:
        """Asks the provider; tries again as long as nothing has come back."""
        assert isinstance(prepared.state, dict)
        body = prepared.state | {self._options.output_bound: max_output_tokens}
        path = "/chat/completions" if prepared.request.messages else "/completions"
        for attempt in range(self._options.retries + 1):
            reader = ChunkReader(max_output_tokens=max_output_tokens)
            begun = False
            try:
                async with aclosing(self._stream(path, body, reader)) as batches:
                    async for events in batches:
                        begun = True
                        yield events
                yield [self._totals(reader, prepared)]
                return
            except ProviderFailure as failure:
                if begun:
                    raise failure.error from None
                await self._wait(failure, attempt)

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> Embedded:
        """Asks the provider for vectors, scaled to unit length."""
        most = sum(len(text.encode()) for text in inputs)
        if most > max_input_tokens:
            raise ServiceError(
                Reason.BUDGET_EXHAUSTED,
                f"embedding these texts may take {most} tokens, and what is left of the budget pays for "
                f"{max_input_tokens}",
            )
        body = {"model": self._name, "input": list(inputs), "encoding_format": "float"}
        answer = await self._ask("/embeddings", body)
        try:
            entries = sorted(answer["data"], key=lambda entry: entry["index"])
            vectors = [_unit(entry["embedding"]) for entry in entries]
            usage = answer.get("usage") or {}
            tokens = usage.get("prompt_tokens")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._garbled(error) from None
        if len(vectors) != len(inputs):
            raise self._garbled(ValueError(f"{len(vectors)} vectors for {len(inputs)} texts"))
        if not isinstance(tokens, int):
            self._require_estimates()
            tokens = estimated_tokens(most)
        return Embedded(vectors, tokens)

    async def tokenize(self, text: str) -> Sequence[int]:
        """Refuses: the tokenizer is the provider's."""
        raise ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"model {self._model.name!r} is a provider's, whose tokenizer is not at hand",
        )

    def kv_cache_used(self) -> float:
        """Not known."""
        return 0.0

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _stream(self, path: str, body: dict[str, Any], reader: ChunkReader) -> AsyncGenerator[list[Event], None]:
        async with self._answer(path, body) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise self._garbled(ValueError(f"content type {kind!r} where a stream was asked for"))
            frames = EventReader()
            async for received in response.aiter_bytes():
                events = self._events(frames.feed(received), reader)
                if events:
                    yield events
            events = self._events(frames.end(), reader)
            if events:
                yield events
        if not reader.finished:
            error = ServiceError(Reason.UPSTREAM_FAILED, "the provider's stream ended before its answer did")
            raise ProviderFailure(error, retryable=True)

    def _events(self, frames: list[bytes], reader: ChunkReader) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            if frame == b"[DONE]":
                continue
            try:
                chunk = orjson.loads(frame)
                if "error" in chunk:
                    raise ProviderFailure(from_event(chunk["error"], self._provider), retryable=True)
                events.extend(reader.read(chunk))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise self._garbled(error) from None
        return events

    def _totals(self, reader: ChunkReader, prepared: Prepared) -> Counts:
        if reader.usage is not None:
            return reader.usage
        self._require_estimates()
        return Counts(prepared.likely_input_tokens or 0, 0, reader.estimated_output_tokens())

    def _require_estimates(self) -> None:
        if self._options.usage != "estimate":
            raise ServiceError(
                Reason.UPSTREAM_FAILED,
                f"the provider of {self._model.name!r} reports no usage; set usage: estimate in the model's options to "
                "charge by the text's length",
            )

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        for attempt in range(self._options.retries + 1):
            try:
                async with self._answer(path, body) as response:
                    content = await response.aread()
                try:
                    return orjson.loads(content)
                except orjson.JSONDecodeError as error:
                    raise self._garbled(error) from None
            except ProviderFailure as failure:
                await self._wait(failure, attempt)
        raise AssertionError("the last attempt raises")

    @asynccontextmanager
    async def _answer(self, path: str, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """A response of status 200, read as it comes; raises ProviderFailure."""
        url = self._provider.base_url + path
        try:
            async with self._client.stream("POST", url, content=orjson.dumps(body)) as response:
                if response.status_code != httpx.codes.OK:
                    told = await _beginning(response)
                    raise from_answer(response.status_code, response.headers, told, self._provider)
                yield response
        except httpx.HTTPError as error:
            raise from_transport(error, self._provider) from None

    async def _wait(self, failure: ProviderFailure, attempt: int) -> None:
        """Waits before the next attempt, or raises the failure's error if there should be none."""
        if not failure.retryable or attempt == self._options.retries:
            raise failure.error from None
        backoff = self._backoff_s(attempt)
        # Everybody who was turned away comes back when told to, so the jitter goes on top.
        wait = backoff if failure.retry_after_s is None else failure.retry_after_s + backoff / 4
        if wait > self._options.longest_wait_s:
            raise failure.error from None
        await asyncio.sleep(wait)

    def _garbled(self, error: Exception) -> ServiceError:
        told = self._provider.hidden(str(error))[:200]
        return ServiceError(Reason.UPSTREAM_FAILED, f"the provider's answer is not OpenAI's: {told}")


async def _beginning(response: httpx.Response) -> bytes:
    content = b""
    async for received in response.aiter_bytes():
        content += received
        if len(content) > _LONGEST_ERROR_BODY:
            break
    return content[:_LONGEST_ERROR_BODY]


def _unit(values: Sequence[float]) -> list[float]:
    length = math.hypot(*values)
    if not length or not math.isfinite(length):
        raise ValueError("a vector of no length")
    return [value / length for value in values]

"""The upstream backend: any provider that speaks OpenAI's HTTP API."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import (
    EmbeddingResult,
    PreparedRequest,
    TextModelInfo,
    refuse_prompt_scores,
)
from enginehouse.engines.inference.backends.upstream._chunks import UpstreamChunkReader, estimated_tokens
from enginehouse.engines.inference.backends.upstream._errors import (
    ProviderFailure,
    from_answer,
    from_event,
    from_transport,
)
from enginehouse.engines.inference.backends.upstream._gate import ProviderGate
from enginehouse.engines.inference.backends.upstream._options import (
    UpstreamOptions,
    UpstreamProvider,
    find_provider,
)
from enginehouse.engines.inference.backends.upstream._requests import prompt_bytes, to_body
from enginehouse.engines.inference.backends.upstream._sse import EventReader
from enginehouse.engines.inference.generation.events import GenerationEvent, TokenCounts
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.prompt_bound import prompt_tokens_bound

_MAX_BACKOFF_S = 8.0
_MAX_ERROR_BODY_BYTES = 65_536
# Enough for the vectors of as many texts as a request may have.
_MAX_ANSWER_BYTES = 256 * 2**20


class UpstreamBackend:
    """The backend of models that a provider serves, called with the key from the environment.

    Args:
        environ: has the providers' keys.
        jitter: returns a number from 0 to 1 that spreads retries.
        first_wait_s: seconds before the first retry; each further one waits twice as long, up to 8 s.
        open_s: seconds for which a provider that failed repeatedly is not called, at first.
        clock: returns monotonic seconds.
    """

    name = "upstream"

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        jitter: Callable[[], float] = random.random,
        first_wait_s: float = 0.5,
        open_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environ = environ
        self._jitter = jitter
        self._first_wait_s = first_wait_s
        self._open_s = open_s
        self._clock = clock
        self._gates: dict[UpstreamProvider, ProviderGate] = {}
        self._loaded: dict[str, UpstreamModel] = {}

    def refusing(self) -> Container[str]:
        """Return the models whose provider is away, or has asked for a pause: their calls are refused at once."""
        return frozenset(name for name, model in self._loaded.items() if model.refusing)

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Check the model's options, its provider's address and key, without sending a request."""
        options = read_options(UpstreamOptions, model)
        find_provider(model, options, environ=self._environ)
        return _info(model, options)

    async def load(self, model: CatalogModel) -> UpstreamModel:
        """Make the provider's client, without sending a request."""
        options = read_options(UpstreamOptions, model)
        provider = find_provider(model, options, environ=self._environ)
        headers = {"authorization": f"Bearer {provider.key}"} if provider.key else {}
        client = httpx.AsyncClient(
            headers=headers | {"content-type": "application/json"},
            timeout=httpx.Timeout(options.silence_timeout_s, connect=options.connect_timeout_s, pool=None),
            limits=httpx.Limits(max_connections=options.slots, max_keepalive_connections=options.slots),
        )
        gate = self._gates.get(provider)
        if gate is None:
            host = httpx.URL(provider.base_url).host
            gate = self._gates[provider] = ProviderGate(
                name=host, open_s=self._open_s, jitter=self._jitter, clock=self._clock
            )
        loaded = self._loaded[model.name] = UpstreamModel(
            model=model,
            options=options,
            provider=provider,
            client=client,
            gate=gate,
            clock=self._clock,
            backoff_s=lambda attempt: min(_MAX_BACKOFF_S, self._first_wait_s * 2**attempt) * (0.5 + self._jitter() / 2),
        )
        return loaded


class UpstreamModel:
    """One model of one provider."""

    def __init__(
        self,
        *,
        model: CatalogModel,
        options: UpstreamOptions,
        provider: UpstreamProvider,
        client: httpx.AsyncClient,
        gate: ProviderGate,
        clock: Callable[[], float],
        backoff_s: Callable[[int], float],
    ) -> None:
        self._model = model
        self.info = _info(model, options)
        """Its properties: the catalog's, though the provider may refuse a shorter context."""
        self._name = options.model or model.name
        self._options = options
        self._provider = provider
        self._client = client
        self._gate = gate
        self._clock = clock
        self._backoff_s = backoff_s
        # The end of the pause that the provider asked for, for this model, by the monotonic clock.
        self._quiet_until = 0.0

    @property
    def refusing(self) -> bool:
        """True while calls that cannot wait are refused at once."""
        return self._gate.is_open or self._quiet_s() > 0

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Convert the request to the provider's form. `input_tokens` is an upper bound, without the tokenizer."""
        refuse_prompt_scores(request, backend=UpstreamBackend.name)
        if request.echo and request.prompt_token_ids:
            message = "echo: only the provider has the tokenizer of this model; send the prompt as text"
            raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, message, violations=[FieldViolation("echo", message)])
        body = to_body(request, model=self._name, options=self._options)
        likely = estimated_tokens(prompt_bytes(request))
        return PreparedRequest(request, prompt_tokens_bound(request), body, likely_input_tokens=likely)

    async def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Ask the provider; retry as long as no output has come, and the request's patience allows."""
        assert isinstance(prepared.state, dict)
        body = prepared.state | {self._options.output_bound: max_output_tokens}
        path = "/chat/completions" if prepared.request.messages else "/completions"
        patience_s = min(prepared.patience_s, self._options.longest_wait_s)
        for attempt in range(self._options.retries + 1):
            await self._enter(patience_s)
            reader = UpstreamChunkReader(max_output_tokens=max_output_tokens)
            begun = False
            try:
                async with aclosing(self._stream(path, body, reader)) as batches:
                    async for events in batches:
                        if not begun:
                            begun = True
                            self._gate.answered()
                        yield events
                yield [self._totals(reader, prepared)]
                return
            except ProviderFailure as failure:
                self._note(failure)
                if begun:
                    raise failure.error from None
                await self._wait(failure, attempt, patience_s)

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Ask the provider for vectors, scaled to unit length."""
        size = sum(len(text.encode()) for text in inputs)
        if size > max_input_tokens:
            raise ServiceError(
                Reason.BUDGET_EXHAUSTED,
                f"budget exhausted: embedding these texts may take {size} tokens, and the rest of the budget pays for "
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
            raise self._garbled(error).error from None
        if len(vectors) != len(inputs):
            raise self._garbled(ValueError(f"{len(vectors)} vectors for {len(inputs)} texts")).error
        if not isinstance(tokens, int):
            self._require_estimates()
            tokens = estimated_tokens(size)
        return EmbeddingResult(vectors, tokens)

    async def tokenize(self, text: str) -> Sequence[int]:
        """Raise UNSUPPORTED_CAPABILITY, since only the provider has the tokenizer."""
        raise ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"model {self._model.name!r} cannot tokenize: only its provider has the tokenizer",
        )

    def kv_cache_used(self) -> float:
        """Return 0, since it is not known."""
        return 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _stream(
        self, path: str, body: dict[str, Any], reader: UpstreamChunkReader
    ) -> AsyncGenerator[list[GenerationEvent], None]:
        async with self._answer(path, body) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise self._garbled(ValueError(f"content type {kind!r} instead of a stream"))
            frames = EventReader()
            async for received in response.aiter_bytes():
                events = self._events(frames.feed(received), reader)
                if events:
                    yield events
            events = self._events(frames.end(), reader)
            if events:
                yield events
        if not reader.finished:
            error = ServiceError(Reason.UPSTREAM_FAILED, "the provider's stream ended before the answer was complete")
            raise ProviderFailure(error, retryable=True)

    def _events(self, frames: list[bytes], reader: UpstreamChunkReader) -> list[GenerationEvent]:
        events: list[GenerationEvent] = []
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

    def _totals(self, reader: UpstreamChunkReader, prepared: PreparedRequest) -> TokenCounts:
        if reader.usage is not None:
            return reader.usage
        self._require_estimates()
        return TokenCounts(prepared.likely_input_tokens or 0, 0, reader.estimated_output_tokens())

    def _require_estimates(self) -> None:
        if self._options.usage != "estimate":
            raise ServiceError(
                Reason.UPSTREAM_FAILED,
                f"the provider of {self._model.name!r} reports no usage; set usage: estimate in the model's options to "
                "charge by the text's length",
            )

    async def _ask(self, path: str, body: dict[str, Any]) -> Any:
        for attempt in range(self._options.retries + 1):
            await self._enter(self._options.longest_wait_s)
            try:
                async with self._answer(path, body) as response:
                    content = await self._whole(response)
                try:
                    answer = orjson.loads(content)
                except orjson.JSONDecodeError as error:
                    raise self._garbled(error) from None
                self._gate.answered()
                return answer
            except ProviderFailure as failure:
                self._note(failure)
                await self._wait(failure, attempt, self._options.longest_wait_s)
        raise AssertionError("the last attempt raises")

    @asynccontextmanager
    async def _answer(self, path: str, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """Yield a response of status 200, read as it arrives; raise ProviderFailure."""
        url = self._provider.base_url + path
        try:
            async with self._client.stream("POST", url, content=orjson.dumps(body)) as response:
                if response.status_code != httpx.codes.OK:
                    told = await _beginning(response)
                    raise from_answer(response.status_code, response.headers, told, self._provider)
                yield response
        except httpx.HTTPError as error:
            raise from_transport(error, self._provider) from None

    async def _whole(self, response: httpx.Response) -> bytes:
        parts, size = [], 0
        async for received in response.aiter_bytes():
            parts.append(received)
            size += len(received)
            if size > _MAX_ANSWER_BYTES:
                raise self._garbled(ValueError(f"more than {_MAX_ANSWER_BYTES} bytes"))
        return b"".join(parts)

    async def _enter(self, patience_s: float) -> None:
        """Wait for the end of the provider's pause, if patience allows; raise while it is away."""
        quiet_s = self._quiet_s()
        if quiet_s > patience_s:
            raise ServiceError(
                Reason.UPSTREAM_RATE_LIMITED, "rate limited: the provider asked for a pause", retry_after_s=quiet_s
            )
        if quiet_s > 0:
            # All refused calls come back at the time that they were told, so jitter is added.
            await asyncio.sleep(quiet_s + self._backoff_s(0) / 4)
        self._gate.enter()

    def _quiet_s(self) -> float:
        return max(0.0, self._quiet_until - self._clock())

    def _note(self, failure: ProviderFailure) -> None:
        """Record a failure of the provider, for all later requests."""
        if failure.error.reason is Reason.UPSTREAM_FAILED or (
            failure.error.reason is Reason.UPSTREAM_RATE_LIMITED and not failure.retryable
        ):
            self._gate.failed(failure.error.message)
        else:
            self._gate.answered()
        if failure.error.reason is Reason.UPSTREAM_RATE_LIMITED and failure.retry_after_s is not None:
            self._quiet_until = max(self._quiet_until, self._clock() + failure.retry_after_s)

    async def _wait(self, failure: ProviderFailure, attempt: int, patience_s: float) -> None:
        """Wait before the next attempt, or raise the failure's error if there should be none."""
        if not failure.retryable or attempt == self._options.retries:
            raise failure.error from None
        backoff = self._backoff_s(attempt)
        wait = backoff if failure.retry_after_s is None else failure.retry_after_s + backoff / 4
        if wait > patience_s:
            raise failure.error from None
        await asyncio.sleep(wait)

    def _garbled(self, error: Exception) -> ProviderFailure:
        told = self._provider.hidden(str(error))[:200]
        return ProviderFailure(
            ServiceError(Reason.UPSTREAM_FAILED, f"invalid answer: the provider's is not of OpenAI's form: {told}"),
            retryable=False,
        )


def _info(model: CatalogModel, options: UpstreamOptions) -> TextModelInfo:
    # Providers take no token ids, so nothing can be resumed from them.
    return TextModelInfo(
        slots=options.slots,
        memory_bytes=0,
        context_tokens=model.context_tokens,
        embedding_dimensions=options.embedding_dimensions,
    )


async def _beginning(response: httpx.Response) -> bytes:
    content = b""
    async for received in response.aiter_bytes():
        content += received
        if len(content) > _MAX_ERROR_BODY_BYTES:
            break
    return content[:_MAX_ERROR_BODY_BYTES]


def _unit(values: Sequence[float]) -> list[float]:
    length = math.hypot(*values)
    if not length or not math.isfinite(length):
        raise ValueError("a vector of length zero")
    return [value / length for value in values]

"""A model on llama.cpp, as the text engine sees it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import EmbeddingResult, PreparedRequest, TextModelInfo
from enginehouse.engines.inference.backends.llamacpp._embedding import LlamaCppEmbedder
from enginehouse.engines.inference.backends.llamacpp._options import LlamaCppOptions, SamplingDefaults
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan, RequestPlanner
from enginehouse.engines.inference.backends.llamacpp._run import run
from enginehouse.engines.inference.backends.llamacpp._scored import run_scored
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.backends.llamacpp._steps import run_steps
from enginehouse.engines.inference.generation.events import GenerationEvent, OutputPiece
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.tasks import BackgroundTask

# Words of templates whose models write reasoning, which only llama.cpp's chat route separates from the answer.
_REASONING = ("think", "reason", "channel")


class LlamaCppModel:
    """A loaded model; implements `LoadedTextModel`."""

    def __init__(
        self,
        *,
        server: LlamaCppServer,
        planner: RequestPlanner,
        embedder: LlamaCppEmbedder,
        info: TextModelInfo,
        numbers: bytes,
        sampling: SamplingDefaults,
    ) -> None:
        self._server = server
        self._planner = planner
        self._embedder = embedder
        self.info = info
        """Its properties, as measured."""
        # Everything besides the request that determines an answer: the arithmetic and the default sampling.
        self._numbers = numbers + sampling.model_dump_json().encode() if numbers else b""
        self._held_tokens = 0
        self._watch: BackgroundTask | None = None

    @classmethod
    async def start(
        cls,
        *,
        model: CatalogModel,
        server: LlamaCppServer,
        options: LlamaCppOptions,
        info: TextModelInfo,
        numbers: bytes,
    ) -> LlamaCppModel:
        """Ask a loaded server for its abilities, and return the model.

        Args:
            model: the catalog's entry.
            server: the loaded weights.
            options: the options that they were loaded with.
            info: its properties, as inspected.
            numbers: the result of `measure_exactness`; empty if answers cannot be continued.
        """
        properties = await server.properties()
        abilities = properties.get("chat_template_caps") or {}
        template = str(properties.get("chat_template") or "")
        planner = RequestPlanner(
            server=server,
            context_tokens=model.context_tokens,
            native_tools=bool(abilities.get("supports_tools") and abilities.get("supports_tool_calls")),
            plain_chat=not any(word in template for word in _REASONING),
            sampling=options.sampling,
            vocabulary_size=await server.vocabulary_size(),
            resumes=bool(numbers),
        )
        embedder = LlamaCppEmbedder(server=server, planner=planner, context_tokens=model.context_tokens)
        dimensions = 0
        if "embeddings" in model.capabilities:
            dimensions = len((await embedder.embed(["a"], max_input_tokens=model.context_tokens)).vectors[0])
        return cls(
            server=server,
            planner=planner,
            embedder=embedder,
            info=replace(info, embedding_dimensions=dimensions, may_resume=bool(numbers)),
            numbers=numbers,
            sampling=options.sampling,
        )

    def kv_cache_used(self) -> float:
        """Return the share of all slots' contexts that running requests fill."""
        return min(1.0, self._held_tokens / (self.info.slots * self.info.context_tokens))

    async def busy_slots(self) -> int:
        """Return the number of llama.cpp's slots at work: none soon after the last request has ended."""
        return await self._server.busy_slots()

    async def tokenize(self, text: str) -> Sequence[int]:
        """Return the text's tokens."""
        return await self._server.tokenize(text, special=False)

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Apply the template and count the prompt."""
        plan = await self._planner.plan(request)
        key = b""
        if plan.resumable:
            key = hashlib.sha256(self._numbers + orjson.dumps(plan.body, option=orjson.OPT_SORT_KEYS)).digest()
        text = ""
        if request.echo and request.prompt_token_ids:
            text = await self._server.detokenize(request.prompt_token_ids)
        return PreparedRequest(
            request=request, input_tokens=plan.input_tokens, state=plan, output_key=key, prompt_text=text
        )

    async def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Run the model."""
        plan = prepared.state
        assert isinstance(plan, RequestPlan)
        held = prepared.input_tokens + len(prepared.request.resume.token_ids)
        self._held_tokens += held
        if plan.scored:
            events = run_scored(
                self._server, plan, prepared.request, slots=self.info.slots, max_output_tokens=max_output_tokens
            )
        elif plan.resumable:
            events = run_steps(self._server, plan, prepared.request, max_output_tokens=max_output_tokens)
        else:
            events = run(
                self._server, plan, prepared.request, slots=self.info.slots, max_output_tokens=max_output_tokens
            )
        try:
            async with aclosing(events):
                async for batch in events:
                    grown = sum(event.tokens for event in batch if isinstance(event, OutputPiece))
                    held += grown
                    self._held_tokens += grown
                    yield batch
        finally:
            self._held_tokens -= held

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Embed texts."""
        return await self._embedder.embed(inputs, max_input_tokens=max_input_tokens)

    def watch(self, *, hang_s: float, on_hang: Callable[[str], None]) -> None:
        """Call `on_hang` once the model has run for `hang_s` seconds without output, since then nothing can stop it."""
        self._watch = BackgroundTask(lambda: self._watch_for_hang(hang_s, on_hang), name="llama-watch")
        self._watch.start()

    async def _watch_for_hang(self, hang_s: float, on_hang: Callable[[str], None]) -> None:
        silent_s = 0.0
        while silent_s < hang_s:
            await asyncio.sleep(max(0.1, (hang_s - silent_s) / 2))
            silent_s = self._server.silent_s
        on_hang(f"llama.cpp hangs: no output for {silent_s:.0f} s while requests run")

    async def close(self) -> None:
        """Free the model."""
        if self._watch is not None:
            await self._watch.close()
        await self._server.close()

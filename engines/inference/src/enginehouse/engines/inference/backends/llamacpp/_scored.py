"""Generations of which every token has its log probability, the prompt's tokens too where they are asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest
from enginehouse.engines.inference.backends.llamacpp._numbers import TokenNumbers
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan
from enginehouse.engines.inference.backends.llamacpp._run import run
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.backends.llamacpp._steps import read_prompt, run_steps
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts


def scores_prompt(request: GenerateRequest) -> bool:
    """Return whether the log probabilities of the prompt's tokens are asked for."""
    return request.echo and request.logprobs and not request.HasField("resume")


async def run_scored(
    server: LlamaCppServer, plan: RequestPlan, request: GenerateRequest, *, slots: int, max_output_tokens: int
) -> AsyncGenerator[list[GenerationEvent], None]:
    """Run a plan and yield the events, as `LoadedTextModel.generate` does; choices are made one after the other.

    Args:
        server: the loaded model.
        plan: the request as llama.cpp takes it; its prompt is token ids.
        request: the request.
        slots: the number of choices that one llama.cpp request may have.
        max_output_tokens: the bound on each choice; 0 to read the prompt only.
    """
    tokens: list[int] = plan.body["prompt"]
    choices = range(request.choices or 1)
    if scores_prompt(request):
        counts: list[GenerationEvent] = [TokenCounts(input_tokens=len(tokens), cached_input_tokens=0)]
        numbers = TokenNumbers(server, top=request.top_logprobs)
        async with aclosing(numbers.prompt(tokens, added=plan.added_tokens)) as batches:
            async for batch in batches:
                yield [*counts, *(OutputPiece(index, logprobs=batch) for index in choices)]
                counts.clear()
    elif max_output_tokens == 0:
        cached = await read_prompt(server, tokens)
        yield [TokenCounts(input_tokens=len(tokens), cached_input_tokens=min(cached, len(tokens)))]
    if max_output_tokens == 0:
        yield [OutputPiece(index, finish=FinishReason.LENGTH) for index in choices]
        return
    for output in _outputs(server, plan, request, slots=slots, max_output_tokens=max_output_tokens):
        async with aclosing(output):
            async for events in output:
                yield events


def _outputs(
    server: LlamaCppServer, plan: RequestPlan, request: GenerateRequest, *, slots: int, max_output_tokens: int
) -> Iterator[AsyncGenerator[list[GenerationEvent], None]]:
    if plan.constrained:
        # The state of a grammar lives in one llama.cpp request.
        yield run(server, plan, request, slots=slots, max_output_tokens=max_output_tokens)
        return
    for choice in range(request.choices or 1):
        yield run_steps(server, plan, request, max_output_tokens=max_output_tokens, choice=choice)

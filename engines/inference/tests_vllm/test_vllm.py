"""vLLM in process, with a tiny model of random weights: the code path, not the sense of what it writes."""

import asyncio
import json

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.vllm import VllmBackend
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece, TokenCounts
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests_vllm.conftest import CONTEXT, catalog_model

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200)]

FLAG = (
    '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": false}'
)


def ask(text="hi", **fields):
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)
    return generation_pb2.GenerateRequest(model="tiny", messages=[message], **fields)


async def run(model, request, *, most=12):
    prepared = await model.prepare(request)
    events = [event async for batch in model.generate(prepared, max_output_tokens=most) for event in batch]
    return (
        prepared,
        [event for event in events if isinstance(event, OutputPiece)],
        [event for event in events if isinstance(event, TokenCounts)],
    )


def sampled(**fields):
    return generation_pb2.Sampling(**fields)


async def test_tokens_are_counted_and_bounded(model):
    prepared, pieces, [counts] = await run(model, ask(sampling=sampled(temperature=0)))
    assert sum(piece.tokens for piece in pieces) == 12
    assert pieces[-1].finish is FinishReason.LENGTH
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert prepared.input_tokens == len(await model.tokenize(text)) == counts.input_tokens


async def test_equal_seeds_give_equal_text(model):
    request = ask(sampling=sampled(temperature=1, seed=5, top_p=0.9, top_k=50, min_p=0.01, repeat_penalty=1.1))
    texts = ["".join(piece.text for piece in (await run(model, request))[1]) for _ in range(2)]
    assert texts[0] == texts[1]
    other = ask(sampling=sampled(temperature=1, seed=6))
    assert "".join(piece.text for piece in (await run(model, other))[1]) != texts[0]


async def test_choices_each_have_their_bound(model):
    _, pieces, counts = await run(model, ask(choices=3, sampling=sampled(temperature=1)), most=5)
    for index in range(3):
        own = [piece for piece in pieces if piece.index == index]
        assert sum(piece.tokens for piece in own) <= 5
        assert own[-1].finish is not None
    assert len(counts) == 1


async def test_prompts_that_begin_alike_share_a_cache(model):
    text = "once upon a time " * 30
    await run(model, ask(text), most=1)
    prepared, _, [counts] = await run(model, ask(text), most=1)
    assert 0 < counts.cached_input_tokens < prepared.input_tokens


async def test_stop_text_ends_the_output_and_is_not_sent(model):
    _, pieces, _ = await run(model, ask(sampling=sampled(temperature=0)), most=12)
    whole = "".join(piece.text for piece in pieces)
    stop = next(character for character in whole[2:] if character.isascii() and character not in whole[:2])
    _, pieces, _ = await run(model, ask(sampling=sampled(temperature=0), stop=[stop]), most=12)
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish is FinishReason.STOP


async def test_logprobs(model):
    _, pieces, _ = await run(model, ask(logprobs=True, top_logprobs=2, sampling=sampled(temperature=0)), most=3)
    entries = [entry for piece in pieces for entry in piece.logprobs]
    assert len(entries) == 3
    assert all(len(entry.top) == 2 and entry.logprob <= 0 for entry in entries)
    assert all(entry.top[0].logprob == entry.logprob >= entry.top[1].logprob for entry in entries)


async def test_schema_and_grammar_bind_the_output(model):
    _, pieces, _ = await run(model, ask(format=generation_pb2.OutputFormat(json_schema=FLAG)), most=40)
    assert set(json.loads("".join(piece.text for piece in pieces))) == {"ok"}
    grammar = 'root ::= "yes" | "no"'
    _, pieces, _ = await run(model, ask(format=generation_pb2.OutputFormat(grammar=grammar)), most=9)
    assert "".join(piece.text for piece in pieces) in ("yes", "no")


async def test_tools_that_must_be_called(model):
    tools = [generation_pb2.Tool(name="look", description="looks", parameters_json_schema=FLAG)]
    named = generation_pb2.ToolChoice(mode=generation_pb2.ToolChoice.MODE_NAMED, name="look")
    required = generation_pb2.ToolChoice(mode=generation_pb2.ToolChoice.MODE_REQUIRED)
    for choice in (named, required):
        request = ask(tools=tools, tool_choice=choice, parallel_tool_calls=False)
        _, pieces, _ = await run(model, request, most=80)
        calls = [call for piece in pieces for call in piece.tool_calls]
        assert [call.name for call in calls if call.name] == ["look"]
        assert calls[0].id.startswith("call_")
        assert set(json.loads("".join(call.arguments for call in calls))) == {"ok"}
        assert pieces[-1].finish is FinishReason.TOOL_CALLS
        assert not any(piece.text for piece in pieces)
    with pytest.raises(ServiceError) as raised:
        await model.prepare(ask(tools=tools))
    assert raised.value.reason is Reason.UNSUPPORTED_CAPABILITY


async def test_cancel_frees_the_slots(model):
    held = []
    for _ in range(8):
        batches = model.generate(await model.prepare(ask(sampling=sampled(temperature=1))), max_output_tokens=900)
        await anext(batches)
        held.append(batches)
    for batches in held:
        await batches.aclose()
    async with asyncio.timeout(60):
        await run(model, ask(), most=2)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask(format=generation_pb2.OutputFormat(json_schema='{"type": "objec"}')), Reason.INVALID_SCHEMA),
        (ask(format=generation_pb2.OutputFormat(json_schema="{oops")), Reason.INVALID_SCHEMA),
        (ask(format=generation_pb2.OutputFormat(grammar="root := nonsense (")), Reason.INVALID_SCHEMA),
        (ask("x" * 5000), Reason.INVALID_REQUEST),
    ],
)
async def test_bad_requests_are_typed(model, request_, reason):
    with pytest.raises(ServiceError) as raised:
        await run(model, request_)
    assert raised.value.reason is reason


async def test_a_tool_result_is_shown_to_a_template_that_knows_no_tools(model):
    result = generation_pb2.Message(role=generation_pb2.ROLE_TOOL, content="x", tool_call_id="c")
    assert await run(model, generation_pb2.GenerateRequest(messages=[result]), most=2)


async def test_models_that_cannot_work_are_refused_at_load(folder, tmp_path):
    backend = VllmBackend(models_dir=tmp_path, environ={})
    for model, reason in (
        (catalog_model(tmp_path), Reason.WEIGHTS_ABSENT),
        (catalog_model(folder, slot=1), Reason.INVALID_REQUEST),
    ):
        with pytest.raises(ServiceError) as raised:
            await backend.load(model)
        assert raised.value.reason is reason


async def test_context_is_the_catalogs(model):
    assert model.info.context_tokens == CONTEXT
    assert model.info.slots == 8

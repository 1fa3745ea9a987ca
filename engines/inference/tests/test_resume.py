"""Answers cut anywhere and continued by another engine: token for token what the uncut answer is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import ChoiceDelta, GenerateRequest, Resume, Sampling, Tool
from enginehouse.kit.errors import Reason
from enginehouse.kit.pricing import cost_nanos
from enginehouse.kit.testing import GrantIssuer
from engines.inference.tests.text_engine import (
    CACHED,
    INPUT,
    OUTPUT,
    PRICES,
    EngineClient,
    amounts,
    llama_model,
    running_engine,
    user,
)
from engines.inference.tests.tiny_gguf import write_tiny_llama

BUNDLED = llama_model("m", "bundled:enginehouse-tiny.gguf")
GREEDY = Sampling(temperature=0)
SEEDED = Sampling(temperature=1, top_p=1, top_k=0, min_p=0, seed=7)
PENALISED = Sampling(temperature=0.9, repeat_penalty=1.3, frequency_penalty=0.4, presence_penalty=0.2, seed=11)


@dataclass
class Received:
    """The part of an answer that a caller has received."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    receipt: bytes = b""
    token_count: int = 0
    logprobs: list[Any] = field(default_factory=list)
    end: ChoiceDelta | None = None
    usage: dict[int, int] = field(default_factory=dict)
    cost: int = 0
    resumable: bool = False

    def add(self, response: generation_pb2.GenerateResponse) -> None:
        self.resumable |= response.resumable
        for delta in response.deltas:
            assert self.end is None
            self.text += delta.text
            self.token_ids.extend(delta.token_ids)
            self.token_count += delta.token_count
            self.logprobs.extend(delta.logprobs)
            self.receipt = delta.receipt or self.receipt
            if delta.finish_reason:
                self.end = delta
        if response.HasField("summary"):
            self.usage = {unit.unit: unit.amount for unit in response.summary.usage.units}
            self.cost = response.summary.usage.cost_nanos

    @property
    def resume(self) -> Resume:
        return Resume(token_ids=self.token_ids, receipt=self.receipt)


def finish_of(received: Received) -> tuple[int, int]:
    """The reason why it ended."""
    assert received.end is not None
    return received.end.finish_reason, received.end.stopped_by


def again(request: GenerateRequest, resume: Resume, **changes: Any) -> GenerateRequest:
    """The request that continues."""
    copy = GenerateRequest()
    copy.CopyFrom(request)
    copy.resume.CopyFrom(resume)
    copy.MergeFrom(GenerateRequest(**changes))
    return copy


async def read(
    engine: EngineClient, request: GenerateRequest, into: Received | None = None, *, most: int = 10**9, **grant: Any
) -> Received:
    """Read an answer until it ends, or until at least so many tokens are there; then hangs up."""
    received = into or Received()
    grant.setdefault("request_id", "req-resume")
    call = engine.call(request, **grant)
    async for response in call:
        received.add(response)
        if len(received.token_ids) >= most:
            call.cancel()
            break
    return received


@contextlib.asynccontextmanager
async def two_engines(directory: Path, model: Any = BUNDLED) -> AsyncIterator[tuple[EngineClient, EngineClient]]:
    async with two_models(directory, model, model) as engines:
        yield engines


@contextlib.asynccontextmanager
async def two_models(directory: Path, first: Any, second: Any) -> AsyncIterator[tuple[EngineClient, EngineClient]]:
    issuer = GrantIssuer()
    for name in ("a", "b"):
        (directory / name).mkdir()
    async with (
        running_engine([first], directory=directory / "a", issuer=issuer) as one,
        running_engine([second], directory=directory / "b", issuer=issuer) as other,
    ):
        yield one, other


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED, PENALISED], ids=["greedy", "seeded", "penalised"])
async def test_wherever_it_is_cut_another_engine_goes_on_as_the_first_would(tmp_path: Path, sampling: Sampling) -> None:
    prompt = "Once upon a time a clever crow and an old tortoise lived by the river. One morning"
    asks = [
        GenerateRequest(model="m", prompt=prompt, sampling=sampling, resumable=True, logprobs=True, top_logprobs=2),
        GenerateRequest(model="m", messages=[user("ఒక కాకి కథ చెప్పు")], sampling=sampling, resumable=True),
    ]
    async with two_engines(tmp_path) as (one, other):
        for ask in asks:
            ask.max_output_tokens = 90
            whole = await read(one, ask)
            assert whole.resumable
            assert whole.token_count > 20
            for most in (1, 2, 19, 40, 77):
                cut = await read(one, ask, most=most)
                if cut.end is not None:
                    continue
                assert len(cut.token_ids) >= most
                joined = await read(other, again(ask, cut.resume), cut)
                assert joined.text == whole.text
                assert finish_of(joined) == finish_of(whole)
                assert joined.token_count == whole.token_count
                assert joined.logprobs == whole.logprobs


async def test_the_models_own_penalties_keep_it_exact(tmp_path: Path) -> None:
    sampling = {"repeat_penalty": 1.2, "repeat_last_n": 48, "dry_multiplier": 2.0, "dry_penalty_last_n": 96}
    model = llama_model("m", "bundled:enginehouse-tiny.gguf", options={"threads": 1, "sampling": sampling})
    async with two_engines(tmp_path, model) as (one, other):
        for how in (GREEDY, SEEDED):
            ask = GenerateRequest(model="m", prompt="The crow and the fox", sampling=how, resumable=True)
            ask.max_output_tokens = 60
            whole = await read(one, ask)
            assert whole.token_count > 14
            for most in (2, 6):
                cut = await read(one, ask, most=most)
                assert cut.end is None
                joined = await read(other, again(ask, cut.resume), cut)
                assert (joined.text, finish_of(joined)) == (whole.text, finish_of(whole))


async def test_other_default_penalties_cannot_continue_it(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon", sampling=SEEDED, resumable=True, max_output_tokens=40)
    options = {"threads": 1, "sampling": {"dry_multiplier": 0.5}}
    other_model = llama_model("m", "bundled:enginehouse-tiny.gguf", options=options)
    async with two_models(tmp_path, BUNDLED, other_model) as (one, other):
        cut = await read(one, ask, most=10)
        refused = await other.refused(again(ask, cut.resume), request_id="req-resume")
        assert refused.reason is Reason.RESUME_IMPOSSIBLE


async def test_without_a_seed_it_is_drawn_as_its_id_says(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="The fox", sampling=Sampling(temperature=1), resumable=True)
    ask.max_output_tokens = 40
    async with two_engines(tmp_path) as (one, other):
        whole = await read(one, ask)
        cut = await read(one, ask, most=10)
        joined = await read(other, again(ask, cut.resume), cut)
        assert joined.text == whole.text
        assert (await read(one, ask, request_id="req-another")).text != whole.text


async def test_a_resumed_answer_can_be_cut_again(tmp_path: Path) -> None:
    greedy = Sampling(temperature=0, repeat_penalty=1.5)
    ask = GenerateRequest(model="m", prompt="The fox", sampling=greedy, resumable=True, max_output_tokens=60)
    async with two_engines(tmp_path) as engines:
        whole = await read(engines[0], ask)
        joined = await read(engines[0], ask, most=5)
        assert whole.token_count == 60
        for turn, most in enumerate((11, 12, 30, 10**9)):
            joined = await read(engines[(turn + 1) % 2], again(ask, joined.resume), joined, most=most)
        assert (joined.text, finish_of(joined)) == (whole.text, finish_of(whole))


async def test_characters_spread_over_tokens_are_never_split(tmp_path: Path) -> None:
    # Random weights write mostly bytes that are no characters at all, and so try every way in which one may be broken.
    model = llama_model("m", write_tiny_llama(tmp_path / "tiny.gguf", quantised=True))
    ask = GenerateRequest(model="m", prompt="x", sampling=SEEDED, resumable=True, max_output_tokens=48)
    async with two_engines(tmp_path, model) as (one, other):
        whole = await read(one, ask)
        assert whole.token_count == 48
        for most in range(1, 40, 6):
            cut = await read(one, ask, most=most)
            joined = await read(other, again(ask, cut.resume), cut)
            assert (joined.text, joined.token_count) == (whole.text, whole.token_count)


async def test_beside_other_requests_it_is_the_same(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="The old well", sampling=SEEDED, resumable=True, max_output_tokens=60)
    busy = GenerateRequest(model="m", prompt="Once there was", max_output_tokens=200)
    async with two_engines(tmp_path) as (one, other):
        whole = await read(one, ask)
        cut = await read(one, ask, most=20)
        calls = [other.call(busy, request_id=f"busy-{number}") for number in range(3)]
        for call in calls:
            await call.read()
        joined = await read(other, again(ask, cut.resume), cut)
        for call in calls:
            call.cancel()
        assert (joined.text, finish_of(joined)) == (whole.text, finish_of(whole))


async def test_stop_texts_are_found_over_the_seam_and_never_sent(tmp_path: Path) -> None:
    plain = GenerateRequest(model="m", prompt="Once upon a time", sampling=GREEDY, resumable=True, max_output_tokens=60)
    async with two_engines(tmp_path) as (one, other):
        text = (await read(one, plain)).text
        stop = text[40:52]
        ask = GenerateRequest(stop=[stop, "never this"])
        ask.MergeFrom(plain)
        before = text[: text.index(stop)]
        for most in (1, 4, 8, 12):
            cut = await read(one, ask, most=most)
            if cut.end is None:
                assert before.startswith(cut.text)
                cut = await read(other, again(ask, cut.resume), cut)
            assert cut.text == before
            assert cut.end is not None
            assert cut.end.finish_reason == generation_pb2.FINISH_REASON_STOP


async def test_what_is_read_again_costs_as_cached_input(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon a time", sampling=GREEDY, resumable=True, max_output_tokens=40)
    async with two_engines(tmp_path) as (one, other):
        whole = await read(one, ask)
        cut = await read(one, ask, most=10)
        had = len(cut.token_ids)
        joined = await read(other, again(ask, cut.resume), cut)
        prompt = whole.usage[INPUT] + whole.usage.get(CACHED, 0)
        assert joined.usage == {CACHED: prompt + had, OUTPUT: 40 - had}
        assert joined.cost == cost_nanos(PRICES, joined.usage)
        [record] = await other.records(1)
        assert amounts(record) == joined.usage


async def test_each_message_tells_what_was_used_so_far(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon a time", sampling=SEEDED, resumable=True, max_output_tokens=12)
    async with two_engines(tmp_path) as (one, _):
        sent = 0
        responses = [response async for response in one.call(ask, request_id="r")]
        for response in responses[:-1]:
            sent += sum(delta.token_count for delta in response.deltas)
            used = {unit.unit: unit.amount for unit in response.usage_so_far.units}
            assert used[OUTPUT] == sent
            assert response.usage_so_far.cost_nanos == cost_nanos(PRICES, used)


async def test_an_answer_that_is_already_as_long_as_allowed_just_ends(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon a time", sampling=GREEDY, resumable=True)
    shorter = llama_model("m", "bundled:enginehouse-tiny.gguf", max_output_tokens=8)
    async with two_models(tmp_path, BUNDLED, shorter) as (one, other):
        cut = await read(one, ask, most=8)
        had = cut.text
        joined = await read(other, again(ask, cut.resume), cut)
        assert joined.text == had
        assert joined.end is not None
        assert joined.end.stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS
        assert (joined.usage, joined.cost) == ({}, 0)


async def test_the_budget_of_each_attempt_bounds_it(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon a time", sampling=GREEDY, resumable=True, max_output_tokens=40)
    async with two_engines(tmp_path) as (one, other):
        whole = await read(one, ask)
        cut = await read(one, ask, most=10)
        had, prompt = len(cut.token_ids), whole.usage[INPUT] + whole.usage.get(CACHED, 0)
        cap = cost_nanos(PRICES, {CACHED: prompt + had, OUTPUT: 5})
        joined = await read(other, again(ask, cut.resume), cut, cap_nanos=cap)
        assert joined.end is not None
        assert joined.end.stopped_by == generation_pb2.STOPPED_BY_BUDGET
        assert joined.token_count == had + 5
        assert whole.text.startswith(joined.text)
        assert joined.cost == cap


@dataclass
class Change:
    """A way in which a resumed request is not the one that was cut."""

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    grant: dict[str, Any] = field(default_factory=dict)
    token_ids: Sequence[int] | None = None
    receipt: bytes | None = None


async def test_nothing_but_the_cut_answer_can_be_continued(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="Once upon", sampling=SEEDED, resumable=True, max_output_tokens=40)
    async with two_engines(tmp_path) as (one, other):
        cut = await read(one, ask, most=10)
        ids = cut.token_ids
        for change in (
            Change("another token", token_ids=[*ids[:-1], ids[-1] + 1]),
            Change("fewer tokens", token_ids=ids[:-1]),
            Change("more tokens", token_ids=[*ids, 5]),
            Change("another receipt", receipt=cut.receipt[:-1] + bytes([cut.receipt[-1] ^ 1])),
            Change("no such key", receipt=b"other" + cut.receipt[cut.receipt.index(b":") :]),
            Change("another request", grant={"request_id": "req-other"}),
            Change("another prompt", changes={"prompt": "Once upon a"}),
            Change("another seed", changes={"sampling": Sampling(seed=8)}),
            Change("another length", changes={"max_output_tokens": 41}),
            Change("another stop", changes={"stop": ["x"]}),
        ):
            resume = Resume(
                token_ids=ids if change.token_ids is None else change.token_ids,
                receipt=cut.receipt if change.receipt is None else change.receipt,
            )
            grant = {"request_id": "req-resume"} | change.grant
            refused = await other.refused(again(ask, resume, **change.changes), **grant)
            assert refused.reason is Reason.RESUME_IMPOSSIBLE, change.what


async def test_other_weights_cannot_continue_it(tmp_path: Path) -> None:
    ask = GenerateRequest(model="m", prompt="x", sampling=SEEDED, resumable=True, max_output_tokens=20)
    one_model = llama_model("m", write_tiny_llama(tmp_path / "one.gguf", seed=7, quantised=True))
    other_model = llama_model("m", write_tiny_llama(tmp_path / "other.gguf", seed=8, quantised=True))
    async with two_models(tmp_path, one_model, other_model) as (one, other):
        cut = await read(one, ask, most=5)
        refused = await other.refused(again(ask, cut.resume), request_id="req-resume")
        assert refused.reason is Reason.RESUME_IMPOSSIBLE


@pytest.mark.parametrize(
    "form",
    [
        {"tools": [Tool(name="look")]},
        {"tools": [Tool(name="look")], "tool_choice": generation_pb2.ToolChoice(mode=2)},
        {"format": generation_pb2.OutputFormat(json_object=True)},
        {"choices": 2},
    ],
    ids=["tools", "forced", "grammar", "choices"],
)
async def test_forms_that_cannot_be_continued_say_so_at_once(tmp_path: Path, form: dict[str, Any]) -> None:
    ask = GenerateRequest(model="m", messages=[user("hello")], resumable=True, max_output_tokens=8)
    ask.MergeFrom(GenerateRequest(**({"sampling": GREEDY} | form)))
    async with running_engine([BUNDLED], directory=tmp_path) as engine:
        answer = await engine.generate(ask)
        assert not any(response.resumable for response in answer.responses)
        assert not any(delta.token_ids or delta.receipt for r in answer.responses for delta in r.deltas)
        refused = await engine.refused(again(ask, Resume(token_ids=[5], receipt=b"k:x")))
        assert refused.reason is Reason.RESUME_IMPOSSIBLE


async def test_an_operator_may_prefer_large_steps(tmp_path: Path) -> None:
    model = llama_model("m", "bundled:enginehouse-tiny.gguf", options={"threads": 1, "resumable": False})
    ask = GenerateRequest(model="m", prompt="Once", sampling=GREEDY, resumable=True, max_output_tokens=4)
    async with running_engine([model], directory=tmp_path) as engine:
        assert not (await engine.generate(ask)).responses[0].resumable
        listed = await engine.unary("ListModels", generation_pb2.ListModelsRequest())
        assert "resume" not in listed.models[0].capabilities


async def test_ordinary_streams_carry_no_ids_and_say_the_same(tmp_path: Path) -> None:
    async with running_engine([BUNDLED], directory=tmp_path) as engine:
        for content in ({"prompt": "Once upon a time"}, {"messages": [user("Tell me a story about a crow")]}):
            ask = GenerateRequest(model="m", sampling=GREEDY, max_output_tokens=40, **content)
            plain = await engine.generate(ask)
            assert not any(delta.token_ids for r in plain.responses for delta in r.deltas)
            ask.resumable = True
            resumable = await engine.generate(ask)
            assert resumable.responses[0].resumable
            assert resumable.text == plain.text
            assert resumable.tokens == plain.tokens
            assert resumable.ends[0].finish_reason == plain.ends[0].finish_reason
        listed = await engine.unary("ListModels", generation_pb2.ListModelsRequest())
        assert "resume" in listed.models[0].capabilities


@pytest.mark.parametrize(
    ("resume", "resumable", "field_name"),
    [
        (Resume(receipt=b"k:x"), True, "resume.token_ids"),
        (Resume(token_ids=[1]), True, "resume.receipt"),
        (Resume(token_ids=[-1], receipt=b"k:x"), True, "resume.token_ids"),
        (Resume(token_ids=[1], receipt=b"k:x"), False, "resumable"),
        (Resume(token_ids=[1], receipt=b"x" * 129), True, "resume.receipt"),
    ],
)
async def test_malformed_resumptions_name_the_field(
    engine: EngineClient, resume: Resume, resumable: bool, field_name: str
) -> None:
    ask = GenerateRequest(model="tiny", prompt="x", resume=resume, resumable=resumable)
    refused = await engine.refused(ask)
    assert refused.reason is Reason.INVALID_REQUEST
    assert field_name in {violation.field for violation in refused.violations}

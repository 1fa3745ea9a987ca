"""A tenant's own earlier prompts are recognised, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message
from enginehouse.engines.inference.tenant_prompt_history import TenantPromptHistory
from engines.inference.tests.text_engine import CACHED, INPUT, EngineClient

SYSTEM = "You are a patient tutor of physics who answers in short sentences. " * 4


def chat(*texts: str) -> GenerateRequest:
    roles = (generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_USER)
    return GenerateRequest(messages=[Message(role=roles[min(at, 1)], content=text) for at, text in enumerate(texts)])


def sent(prompts: TenantPromptHistory, request: GenerateRequest, *, tenant: str = "a", model: str = "m") -> str:
    recognised = prompts.match(request, tenant=tenant, model=model)
    prompts.remember(recognised)
    return recognised.rest if recognised.known else "all new"


def test_a_prompt_is_recognised_by_its_own_tenant_and_model_alone() -> None:
    prompts = TenantPromptHistory()
    assert sent(prompts, chat(SYSTEM, "one")) == "all new"
    assert sent(prompts, chat(SYSTEM, "one"), tenant="b") == "all new"
    assert sent(prompts, chat(SYSTEM, "one"), model="n") == "all new"
    assert sent(prompts, chat(SYSTEM, "one")) == ""
    rest = sent(prompts, chat(SYSTEM, "two"))
    assert "two" in rest
    assert len(rest) < 32 + len("two") + 10
    assert sent(prompts, chat("Another beginning. " + SYSTEM, "one")) == "all new"


def test_another_role_or_tool_is_another_prompt() -> None:
    prompts = TenantPromptHistory()
    assert sent(prompts, GenerateRequest(prompt=SYSTEM)) == "all new"
    assert sent(prompts, chat(SYSTEM)) == "all new"
    tool = generation_pb2.Tool(name="look", description="looks")
    with_tool = chat(SYSTEM)
    with_tool.tools.append(tool)
    assert sent(prompts, with_tool) == "all new"
    assert sent(prompts, with_tool) == ""


def test_what_was_not_read_is_not_remembered() -> None:
    prompts = TenantPromptHistory()
    prompts.match(chat(SYSTEM), tenant="a", model="m")
    assert sent(prompts, chat(SYSTEM)) == "all new"


def test_memory_is_bounded_and_the_longest_unused_goes() -> None:
    prompts = TenantPromptHistory(max_prefixes=20)
    sent(prompts, chat("first"))
    for number in range(19):
        sent(prompts, chat(f"number {number}"))
        assert sent(prompts, chat("first")) == ""
    for number in range(20):
        sent(prompts, chat(f"later {number}"))
    assert sent(prompts, chat("first")) == "all new"


@given(st.text(max_size=300), st.text(max_size=300))
def test_the_rest_is_never_shorter_than_what_is_new(first: str, second: str) -> None:
    prompts = TenantPromptHistory()
    prompts.remember(prompts.match(GenerateRequest(prompt=first), tenant="a", model="m"))
    recognised = prompts.match(GenerateRequest(prompt=second), tenant="a", model="m")
    common = next(
        (at for at, (x, y) in enumerate(zip(first, second, strict=False)) if x != y), min(len(first), len(second))
    )
    assert len(recognised.rest) >= len(second) - common
    if recognised.known:
        assert first.startswith(second[: len(second) - len(recognised.rest)])


LONG = "The crow looked at the jug, and the jug looked back at the crow, and neither of them said a word. " * 3


async def test_a_bill_does_not_tell_what_other_tenants_have_sent(engine: EngineClient) -> None:
    async def cached(text: str, tenant: str) -> tuple[int, int]:
        request = GenerateRequest(model="tiny", prompt=text, max_output_tokens=2)
        usage = (await engine.generate(request, tenant=tenant)).usage
        return usage.get(CACHED, 0), usage[INPUT] + usage.get(CACHED, 0)

    assert (await cached(LONG, "first"))[0] == 0
    own, size = await cached(LONG, "first")
    assert own > size // 2, "the tenant's own prompt is in the cache, and counts as such"
    # The second tenant finds it there as well, and is neither told nor charged less for it.
    assert (await cached(LONG, "second"))[0] == 0
    assert (await cached(LONG, "second"))[0] > size // 2
    # What begins with a prompt of one's own, and goes on as another's does, counts only as far as one's own; this
    # model's tokens are short, so that a step of 32 characters and the margin are some 40 of them.
    theirs = LONG + "The fox came by and asked what they were doing there. " * 4
    assert (await cached(theirs, "first"))[0] >= own - 40
    known, whole = await cached(theirs, "second")
    assert own - 40 <= known <= own < whole

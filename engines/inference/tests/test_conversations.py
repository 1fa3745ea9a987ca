"""Conversations as clients keep them, before templates of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from enginehouse.api.inference.v1 import generation_pb2 as g
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Tool, ToolCall
from engines.inference.tests.text_engine import EngineClient, llama_model, running_engine, user
from engines.inference.tests.tiny_gguf import write_tiny_llama

SYSTEM, ASSISTANT, TOOL = g.ROLE_SYSTEM, g.ROLE_ASSISTANT, g.ROLE_TOOL

STRICT = (
    "{%- for m in messages %}"
    "{%- if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content | trim }}{% endfor %}[model]"
)
"""Takes no instructions, and turns only, as Gemma's does."""
LEADING = (
    "{%- for m in messages %}"
    "{%- if m.role == 'system' and not loop.first %}{{ raise_exception('System must be first') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<{{ c.function.name }}{% for k, v in (c.function.arguments | items) %} {{ k }}={{ v }}{% endfor %}>{% endfor %}"
    "{% endfor %}[model]"
)
"""Takes instructions first, and reads a call's arguments as an object."""

NUMBERED = (
    "{%- if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{%- for m in messages %}"
    "{%- if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('One call at once') }}{% endif %}"
    "{%- for c in m.tool_calls or [] %}{%- if c.id | length != 9 %}{{ raise_exception('Ids have 9') }}{% endif %}"
    "<{{ c.id }} {{ c.function.name }} {{ c.function.arguments }}>{% endfor %}"
    "{%- if m.role == 'tool' and m.tool_call_id | length != 9 %}{{ raise_exception('Ids have 9') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}[model]"
)
"""Wants calls with ids of nine characters, as Mistral's does, and one a message, as Llama's does."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("templates")
    return {
        name: write_tiny_llama(folder / f"{name}.gguf", chat_template=template, context=2048)
        for name, template in {"strict": STRICT, "leading": LEADING, "numbered": NUMBERED}.items()
    }


@pytest.fixture
async def mixed(written: dict[str, Path], tiny: Path, tiny_tools: Path, tmp_path: Path) -> AsyncIterator[EngineClient]:
    files = {**written, "tiny": tiny, "tools": tiny_tools}
    models = [llama_model(name, path, context=1024) for name, path in files.items()]
    async with running_engine(models, directory=tmp_path) as client:
        yield client


async def tokens(engine: EngineClient, model: str, messages: list[Message], **fields: Any) -> int:
    """The tokens of a conversation's prompt, which is read."""
    request = GenerateRequest(model=model, messages=messages, max_output_tokens=1, **fields)
    usage = (await engine.generate(request)).usage
    return usage.get(1, 0) + usage.get(3, 0)


def called(arguments: str, *, content: str = "") -> list[Message]:
    call = ToolCall(id="call_1", name="look", arguments=arguments)
    return [
        user("look"),
        Message(role=ASSISTANT, content=content, tool_calls=[call]),
        Message(role=TOOL, tool_call_id="call_1", content=""),
    ]


CONVERSATIONS = {
    "nothing said": [user("")],
    "empty everywhere": [Message(role=SYSTEM), user(""), Message(role=ASSISTANT), user("")],
    "user twice": [user("a"), user("b")],
    "assistant twice": [user("a"), Message(role=ASSISTANT, content="b"), Message(role=ASSISTANT, content="c")],
    "several instructions": [
        Message(role=SYSTEM, content="a"), Message(role=SYSTEM, content="b"), user("c"),
        Message(role=SYSTEM, content="d"), Message(role=ASSISTANT, content="e"), user("f"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("model", ["strict", "leading", "tiny", "tools"])
async def test_every_template_writes_every_order_of_messages(mixed: EngineClient, model: str) -> None:
    for messages in CONVERSATIONS.values():
        assert await tokens(mixed, model, messages) > 0


async def test_no_word_is_lost_where_a_template_refuses_the_order(mixed: EngineClient) -> None:
    words = ["bcd" * 20, "fgh" * 20, "klm" * 20]
    messages = [user(words[0]), user(words[1]), Message(role=SYSTEM, content=words[2])]
    assert await tokens(mixed, "strict", messages) >= sum(map(len, words))
    assert await tokens(mixed, "leading", messages) >= sum(map(len, words))


async def test_what_a_template_cannot_write_at_all_is_refused_in_its_words(mixed: EngineClient) -> None:
    error = await mixed.refused(GenerateRequest(model="strict", messages=[Message(role=ASSISTANT, content="I begin")]))
    assert (error.reason, error.violations[0].field) == ("INVALID_REQUEST", "messages")
    assert "Roles must alternate" in error.message


@pytest.mark.parametrize("model", ["leading", "tiny", "tools"])
@pytest.mark.parametrize("given", [False, True])
async def test_a_call_that_was_cut_is_shown_to_the_model(mixed: EngineClient, model: str, given: bool) -> None:
    tools: dict[str, Any] = {"tools": [Tool(name="look")]} if given else {}
    short = await tokens(mixed, model, called('{"city": "Vij'), **tools)
    long = await tokens(mixed, model, called('{"city": "Vij' + "x" * 100), **tools)
    assert long - short == 100
    for arguments in ("", "{}", "[1]", "null", '"x"', "{'a': 1}", "\\", '{"a": NaN}'):
        assert await tokens(mixed, model, called(arguments, content="so"), **tools) > 0


async def test_a_template_with_rules_for_calls_writes_them_all_the_same(mixed: EngineClient) -> None:
    one, word = called("{}"), "bcd" * 20
    assert await tokens(mixed, "numbered", [Message(role=SYSTEM, content=word), *one]) > len(word)
    several = [
        user("look"),
        Message(role=ASSISTANT, tool_calls=[ToolCall(id=f"c{n}", name="look", arguments="{}") for n in range(2)]),
        *(Message(role=TOOL, tool_call_id=f"c{n}", content=word) for n in range(2)),
    ]
    for model in ("numbered", "strict"):
        assert await tokens(mixed, model, several) > 2 * len(word)


async def test_only_the_broken_call_becomes_text(mixed: EngineClient) -> None:
    whole = called('{"city": "Vij"}')
    assert await tokens(mixed, "leading", [*called('{"city'), *whole]) > await tokens(mixed, "leading", whole)
    with_name = await tokens(mixed, "leading", [*called('{"city'), *called('{"city": "' + "x" * 50 + '"}')])
    assert with_name - await tokens(mixed, "leading", [*called('{"city'), *called('{"city": ""}')]) == 50

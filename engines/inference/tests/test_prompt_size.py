"""The size of a prompt depends on the values in it, and not on how a client typed them."""

from __future__ import annotations

import json

import pytest

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Tool, ToolChoice
from enginehouse.engines.inference.generation.compact import compact_schemas
from engines.inference.tests.text_engine import CACHED, INPUT, EngineClient, user

SCHEMA = {
    "type": "object",
    "properties": {
        "నగరం": {"type": "string", "description": "ఏ నగరం?", "maxLength": 8},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["నగరం"],
}
TYPED = [
    json.dumps(SCHEMA, separators=(",", ":"), ensure_ascii=False),
    json.dumps(SCHEMA, ensure_ascii=False),
    json.dumps(SCHEMA),
    json.dumps(SCHEMA, indent=8),
]


@pytest.mark.parametrize("model", ["tiny", "tools"])
@pytest.mark.parametrize("mode", [ToolChoice.MODE_UNSPECIFIED, ToolChoice.MODE_REQUIRED])
async def test_a_tools_schema_costs_the_same_however_it_is_typed(
    engine: EngineClient, model: str, mode: ToolChoice.Mode.ValueType
) -> None:
    sizes = set()
    for text in TYPED:
        request = GenerateRequest(
            model=model,
            messages=[user("x")],
            tools=[Tool(name="weather", parameters_json_schema=text)],
            tool_choice=ToolChoice(mode=mode),
            max_output_tokens=1,
        )
        usage = (await engine.generate(request)).usage
        sizes.add(usage.get(INPUT, 0) + usage.get(CACHED, 0))
    assert len(sizes) == 1


async def test_a_template_without_tools_shows_the_compact_text(engine: EngineClient) -> None:
    shown = await engine.generate(
        GenerateRequest(
            model="tiny",
            messages=[user("x")],
            tools=[Tool(name="weather", parameters_json_schema=TYPED[3])],
            max_output_tokens=1,
        )
    )
    bare = await engine.generate(
        GenerateRequest(model="tiny", messages=[user("x")], tools=[Tool(name="weather")], max_output_tokens=1)
    )
    sizes = [answer.usage.get(INPUT, 0) + answer.usage.get(CACHED, 0) for answer in (shown, bare)]
    assert sizes[0] - sizes[1] <= len(TYPED[0].encode()) + 1


def test_schemas_are_written_anew() -> None:
    for text in TYPED:
        request = GenerateRequest(messages=[user("x")], tools=[Tool(name="weather", parameters_json_schema=text)])
        request.format.json_schema = text
        compact_schemas(request)
        assert request.tools[0].parameters_json_schema == request.format.json_schema == TYPED[0]

"""Penalties on repetition: the model's own, the request's, and none where a grammar bounds the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling, Tool, ToolChoice
from engines.inference.tests.text_engine import llama_model, running_engine, user

SCHEMA = json.dumps(
    {"type": "object", "properties": {"text": {"type": "string", "maxLength": 60}}, "required": ["text"]}
)
FORMS: dict[str, dict[str, Any]] = {
    "schema": {"prompt": "The crow said", "format": OutputFormat(json_schema=SCHEMA)},
    "forced call": {
        "messages": [user("Tell me of a crow")],
        "tools": [Tool(name="say", parameters_json_schema=SCHEMA)],
        "tool_choice": ToolChoice(mode=ToolChoice.MODE_REQUIRED),
    },
}


def bundled(**sampling: Any) -> Any:
    """The bundled model with these defaults."""
    return llama_model("m", "bundled:enginehouse-tiny.gguf", options={"threads": 1, "sampling": sampling})


def new(directory: Path) -> Path:
    """The folder, made."""
    directory.mkdir()
    return directory


async def greedy(directory: Path, model: Any, **fields: Any) -> str:
    """The likeliest answer of at most 60 tokens, or the arguments of its call."""
    fields = {"prompt": "The crow said to the fox"} | fields if "messages" not in fields else fields
    ask = GenerateRequest(model="m", sampling=Sampling(temperature=0), max_output_tokens=60)
    ask.MergeFrom(GenerateRequest(**fields))
    async with running_engine([model], directory=new(directory)) as engine:
        answer = await engine.generate(ask)
        return "".join([answer.text[0], *(call["arguments"] for call in answer.calls.get(0, ()))])


@pytest.mark.parametrize(
    "default",
    [
        {"repeat_penalty": 1.5},
        {"frequency_penalty": 1.5},
        {"presence_penalty": 1.5},
        {"dry_multiplier": 5.0, "dry_allowed_length": 1},
    ],
    ids=lambda default: next(iter(default)),
)
async def test_a_default_penalty_has_its_effect(tmp_path: Path, default: dict[str, Any]) -> None:
    plain = await greedy(tmp_path / "plain", bundled())
    assert await greedy(tmp_path / "default", bundled(**default)) != plain


async def test_a_default_is_as_if_the_request_had_asked_for_it(tmp_path: Path) -> None:
    asked = Sampling(repeat_penalty=1.5, frequency_penalty=0.5)
    by_request = await greedy(tmp_path / "request", bundled(), sampling=asked)
    assert await greedy(tmp_path / "default", bundled(repeat_penalty=1.5, frequency_penalty=0.5)) == by_request


async def test_a_request_replaces_the_default(tmp_path: Path) -> None:
    plain = await greedy(tmp_path / "plain", bundled())
    none = Sampling(repeat_penalty=1.0)
    assert await greedy(tmp_path / "default", bundled(repeat_penalty=1.5), sampling=none) == plain


@pytest.mark.parametrize("form", FORMS)
async def test_bounded_output_takes_the_penalties_of_the_request_only(tmp_path: Path, form: str) -> None:
    fields = FORMS[form]
    plain = await greedy(tmp_path / "plain", bundled(), **fields)
    assert plain.startswith("{")
    assert await greedy(tmp_path / "default", bundled(repeat_penalty=1.8, dry_multiplier=5.0), **fields) == plain
    assert await greedy(tmp_path / "asked", bundled(), sampling=Sampling(repeat_penalty=1.8), **fields) != plain

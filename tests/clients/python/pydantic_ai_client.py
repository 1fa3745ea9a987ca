"""Pydantic AI: an answer of a type by a tool, one by the provider's own JSON schema, and a stream."""

from __future__ import annotations

import asyncio
import os

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.settings import ModelSettings


class Loaf(BaseModel):
    """A loaf of bread."""

    name: str = Field(max_length=12)
    slices: int = Field(ge=1, le=20)


async def main() -> None:
    """Run the three agents."""
    model = OpenAIChatModel(os.environ["MODEL"])
    settings = ModelSettings(max_tokens=64, temperature=0)
    by_tool = Agent(model, output_type=Loaf, model_settings=settings)
    assert 1 <= (await by_tool.run("A loaf, please")).output.slices <= 20
    by_schema = Agent(model, output_type=NativeOutput(Loaf), model_settings=settings)
    assert 1 <= (await by_schema.run("A loaf, please")).output.slices <= 20
    async with Agent(model, model_settings=settings).run_stream("Tell me a story") as stream:
        assert "".join([piece async for piece in stream.stream_text(delta=True)])


asyncio.run(main())
print("passed")

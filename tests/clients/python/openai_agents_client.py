"""The OpenAI Agents SDK over chat completions: a forced tool, then an answer of a type."""

from __future__ import annotations

import asyncio
import os

import agents
import openai
from pydantic import BaseModel, Field


class Answer(BaseModel):
    """The agent's last word."""

    slices: int = Field(ge=0, le=99)


used: list[bool] = []


@agents.function_tool
def count_slices(loaf: bool) -> int:
    """Count a loaf's slices."""
    used.append(loaf)
    return 12 if loaf else 0


async def main() -> None:
    """Run the agent to its end."""
    agents.set_tracing_disabled(True)
    model = agents.OpenAIChatCompletionsModel(
        model=os.environ["MODEL"], openai_client=openai.AsyncOpenAI(max_retries=0, timeout=120)
    )
    agent = agents.Agent(
        name="Baker",
        instructions="Count slices.",
        model=model,
        tools=[count_slices],
        output_type=Answer,
        model_settings=agents.ModelSettings(tool_choice="required", max_tokens=96, temperature=0),
    )
    result = await agents.Runner.run(agent, "How many slices has the loaf?", max_turns=10)
    assert used
    assert 0 <= result.final_output.slices <= 99


asyncio.run(main())
print("passed")

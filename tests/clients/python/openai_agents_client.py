"""The OpenAI Agents SDK over chat completions: a forced tool, then tools beside an answer of a type."""

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
    settings = {"max_tokens": 96, "temperature": 0}
    caller = agents.Agent(
        name="Baker",
        model=model,
        tools=[count_slices],
        tool_use_behavior="stop_on_first_tool",
        model_settings=agents.ModelSettings(tool_choice="required", **settings),
    )
    assert str((await agents.Runner.run(caller, "How many slices?")).final_output) in ("0", "12")
    assert used

    # Each turn may end with a call or with an answer of the type; which of them is the model's choice.
    used.clear()
    typed = agents.Agent(
        name="Baker",
        model=model,
        tools=[count_slices],
        output_type=Answer,
        model_settings=agents.ModelSettings(**settings),
    )
    try:
        result = await agents.Runner.run(typed, "How many slices?", max_turns=2)
        assert 0 <= result.final_output.slices <= 99
    except agents.MaxTurnsExceeded:
        assert len(used) == 2


asyncio.run(main())
print("passed")

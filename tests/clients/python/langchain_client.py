"""LangChain: invoke, stream, structured output, a bound tool whose answer goes back, embeddings."""

from __future__ import annotations

import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


class Loaf(BaseModel):
    """A loaf of bread."""

    name: str = Field(max_length=12, pattern="^[a-z ]+$")
    slices: int = Field(ge=1, le=20)


@tool
def count_slices(loaf: bool) -> int:
    """Count a loaf's slices."""
    return 12 if loaf else 0


model = ChatOpenAI(model=os.environ["MODEL"], max_tokens=64, max_retries=0, timeout=120, temperature=0)
assert model.invoke("Tell me a story").content
assert "".join(piece.content for piece in model.stream("Tell me a story"))
assert 1 <= model.with_structured_output(Loaf).invoke("A loaf, please").slices <= 20

question = HumanMessage("How many slices has the loaf?")
asked = model.bind_tools([count_slices], tool_choice="count_slices").invoke([question])
(call,) = asked.tool_calls
result = ToolMessage(str(count_slices.invoke(call["args"])), tool_call_id=call["id"])
assert model.bind_tools([count_slices]).invoke([question, asked, result]) is not None

print("passed")

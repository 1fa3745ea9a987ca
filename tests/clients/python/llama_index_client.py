"""LlamaIndex: complete, chat, stream, and an answer of a type."""

from __future__ import annotations

import os

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field


class Loaf(BaseModel):
    """A loaf of bread."""

    slices: int = Field(ge=1, le=20)


settings = {
    "model": os.environ["MODEL"],
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": os.environ["OPENAI_API_KEY"],
    "max_tokens": 48,
    "max_retries": 0,
    "timeout": 120,
    "temperature": 0,
}
model = OpenAILike(**settings, is_chat_model=True, is_function_calling_model=True)
assert model.complete("Tell me a story").text
assert model.chat([ChatMessage(role="user", content="Tell me a story")]).message.content
assert [*model.stream_chat([ChatMessage(role="user", content="Tell me a story")])][-1].message.content
loaf = model.as_structured_llm(Loaf).complete("A loaf, please").raw
assert 1 <= loaf.slices <= 20
assert OpenAILike(**settings, is_chat_model=False).complete("Once upon a time").text

print("passed")

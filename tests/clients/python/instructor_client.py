"""Instructor: an answer of a type by a tool, by a JSON schema, and streamed in part."""

from __future__ import annotations

import os

import instructor
import openai
from pydantic import BaseModel, Field


class Loaf(BaseModel):
    """A loaf of bread."""

    name: str = Field(max_length=12)
    slices: int = Field(ge=1, le=20)


MESSAGES = [{"role": "user", "content": "A loaf, please"}]
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(max_retries=0, timeout=120), mode=mode)
    loaf = client.chat.completions.create(
        model=os.environ["MODEL"], messages=MESSAGES, response_model=Loaf, max_tokens=64, max_retries=0, temperature=0
    )
    assert 1 <= loaf.slices <= 20
    parts = client.chat.completions.create_partial(
        model=os.environ["MODEL"], messages=MESSAGES, response_model=Loaf, max_tokens=64, max_retries=0, temperature=0
    )
    assert list(parts)[-1].slices

print("passed")

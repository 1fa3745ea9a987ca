"""The `anthropic` package: it is told, in a shape that it can show, what to use instead."""

from __future__ import annotations

import os

import anthropic

client = anthropic.Anthropic(
    base_url=os.environ["ENGINEHOUSE_URL"], api_key=os.environ["OPENAI_API_KEY"], max_retries=0
)
try:
    client.messages.create(
        model=os.environ["MODEL"], max_tokens=8, messages=[{"role": "user", "content": "Tell me a story"}]
    )
except anthropic.NotFoundError as error:
    assert error.body["type"] == "error", error.body
    assert error.body["error"]["type"] == "not_found_error", error.body
    assert "/v1/chat/completions" in error.body["error"]["message"], error.body
else:
    raise AssertionError("/v1/messages was served")

print("passed")

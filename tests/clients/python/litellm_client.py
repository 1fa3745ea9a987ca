"""LiteLLM as a library: complete, stream, a tool whose empty result goes back, and its classes of errors."""

from __future__ import annotations

import os

import litellm

MODEL = f"openai/{os.environ['MODEL']}"
MESSAGES = [{"role": "user", "content": "Tell me a story"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "count_slices",
        "parameters": {"type": "object", "properties": {"loaf": {"type": "integer"}}, "required": ["loaf"]},
    },
}

whole = litellm.completion(model=MODEL, messages=MESSAGES, max_tokens=12)
assert whole.choices[0].message.content
assert whole.usage.completion_tokens <= 12
pieces = [
    piece.choices[0].delta.content or ""
    for piece in litellm.completion(model=MODEL, messages=MESSAGES, max_tokens=12, stream=True)
]
assert "".join(pieces)
called = litellm.completion(model=MODEL, messages=MESSAGES, max_tokens=48, tools=[TOOL], tool_choice="required")
(call,) = called.choices[0].message.tool_calls
assert call.function.name == "count_slices"
history = [*MESSAGES, called.choices[0].message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": ""}]
assert litellm.completion(model=MODEL, messages=history, max_tokens=8, tools=[TOOL]).choices
try:
    litellm.completion(model="openai/no-such-model", messages=MESSAGES, num_retries=0, max_retries=0)
except litellm.NotFoundError as error:
    assert "no-such-model" in str(error)
else:
    raise AssertionError("an unknown model was served")

print("passed")

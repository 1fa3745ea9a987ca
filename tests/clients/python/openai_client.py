"""The `openai` package: every resource of it that the mesh serves, and its own classes of errors."""

from __future__ import annotations

import os

import openai

MODEL = os.environ["MODEL"]
MESSAGES = [{"role": "user", "content": "Tell me a story"}]

client = openai.OpenAI(max_retries=0, timeout=120)

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).created > 0

whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=12, logprobs=True)
assert whole.choices[0].message.content
assert whole._request_id
assert whole.choices[0].logprobs is not None
entries = whole.choices[0].logprobs.content
assert entries
assert len(entries) == whole.usage.completion_tokens
assert all(entry.top_logprobs == [] for entry in entries)

with client.chat.completions.stream(model=MODEL, messages=MESSAGES, max_tokens=12) as stream:
    assert "".join(event.delta for event in stream if event.type == "content.delta")

# What was said is accepted back, as is every form of empty content.
history = [*MESSAGES, whole.choices[0].message, {"role": "user", "content": ""}]
assert client.chat.completions.create(model=MODEL, messages=history, max_tokens=4).choices

scored = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=0, echo=True, logprobs=1)
assert scored.choices[0].text == "Once upon a time"
assert scored.choices[0].logprobs.token_logprobs[0] is None
assert scored.usage.completion_tokens == 0

try:
    client.chat.completions.create(model="no-such-model", messages=MESSAGES)
except openai.NotFoundError as error:
    assert error.code == "model_not_found"
    assert error.param == "model"
    assert error.request_id
else:
    raise AssertionError("an unknown model was served")

try:
    client.responses.create(model=MODEL, input="Hello")
except openai.NotFoundError as error:
    assert "/v1/chat/completions" in error.message
else:
    raise AssertionError("/v1/responses was served")

try:
    openai.OpenAI(api_key="eh_wrong", max_retries=0).models.list()
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key"
else:
    raise AssertionError("a wrong key was taken")

print("passed")

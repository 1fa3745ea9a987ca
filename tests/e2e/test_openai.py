"""The unmodified `openai` package against the mesh."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.mesh import Mesh

MODEL = "enginehouse-tiny"


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=60) as connected:
        yield connected


def test_chat_completes_and_counts_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me a story about a clever crow"}],
        max_tokens=24,
        seed=1,
    )
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert 1 <= answer.usage.completion_tokens <= 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.cost_nanos > 0  # type: ignore[attr-defined]


def test_stream_gives_the_same_text_as_the_whole_answer(client: openai.OpenAI) -> None:
    def ask(*, stream: bool) -> str:
        arguments = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "A story about a river"}],
            "max_tokens": 32,
            "temperature": 0,
        }
        if not stream:
            return client.chat.completions.create(**arguments).choices[0].message.content
        chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
        assert chunks[-1].usage.completion_tokens <= 32
        assert chunks[-1].choices == []
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
        assert len({c.id for c in chunks}) == 1
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    assert ask(stream=True) == ask(stream=False)


def test_auto_chooses_a_chat_model(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "hello"}], max_tokens=4
    )
    assert raw.headers["x-enginehouse-model"] == MODEL
    assert raw.headers["x-enginehouse-request-id"]
    assert raw.parse().model == MODEL


def test_json_schema_binds_the_output(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["crow", "fox"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["animal", "legs"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a crow"}],
        response_format={"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}},
        max_tokens=120,
        seed=3,
    )
    assert answer.choices[0].finish_reason == "stop"
    made = json.loads(answer.choices[0].message.content)
    assert made["animal"] in ("crow", "fox")
    assert 0 <= made["legs"] <= 9


def test_a_required_tool_is_called_with_arguments_of_its_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Pune?"}],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "description": "Weather of a city",
                    "parameters": {
                        "type": "object",
                        "properties": {"city": {"enum": ["Pune", "Delhi"]}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                },
            }
        ],
        tool_choice="required",
        max_tokens=120,
        seed=5,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments)["city"] in ("Pune", "Delhi")


def test_several_choices_and_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Once"}],
        n=2,
        logprobs=True,
        top_logprobs=2,
        max_tokens=6,
        seed=2,
    )
    assert sorted(choice.index for choice in answer.choices) == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content
        assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)


def test_plain_completion_continues_a_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="There was once a king", max_tokens=8, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].text


def test_embeddings_tell_related_texts_from_unrelated_ones(client: openai.OpenAI) -> None:
    made = client.embeddings.create(
        model="all-minilm-l6-v2",
        input=["A crow drank from the pot", "The bird found water in a jar", "Interest rates rose in March"],
    )
    crow, bird, rates = (item.embedding for item in made.data)
    assert len(crow) == 384
    assert abs(sum(x * x for x in crow) - 1) < 1e-3
    related = sum(a * b for a, b in zip(crow, bird, strict=True))
    unrelated = sum(a * b for a, b in zip(crow, rates, strict=True))
    assert related > unrelated + 0.2


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {MODEL, "all-minilm-l6-v2"} <= names
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_errors_are_openai_errors(client: openai.OpenAI, mesh: Mesh) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    assert "no-such-model" in str(unknown.value)
    assert unknown.value.body["code"]  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], temperature=9)
    assert "temperature" in str(hot.value)
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "crow " * 5000}])
    assert "context" in str(long.value)
    with (
        openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="eh_wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_budget_refusal_is_a_429_that_names_the_budget(mesh: Mesh) -> None:
    _, key = mesh.create_key("poor", budget_nanos=10)
    with (
        openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0) as poor,
        pytest.raises(openai.RateLimitError) as refused,
    ):
        poor.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert "budget" in str(refused.value).lower()


def test_closing_a_stream_bills_what_was_sent_and_no_more(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("hangs-up", budget_nanos=10_000_000_000)
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "A long story about the sea"}],
            max_tokens=200,
            stream=True,
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()
    deadline = time.monotonic() + 10
    while mesh.spend(key_id) == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mesh.spend(key_id) > 0


def test_many_at_once_all_answer(client: openai.OpenAI) -> None:
    texts: list[str] = []

    def ask(number: int) -> None:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Story number {number}"}], max_tokens=8
        )
        texts.append(answer.choices[0].message.content or "")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(texts) == 24


def test_cors_preflight_and_security_headers(mesh: Mesh) -> None:
    preflight = httpx.options(
        f"{mesh.url}/v1/chat/completions",
        headers={
            "origin": "http://localhost:3000",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    answer = httpx.get(f"{mesh.url}/v1/models", headers={"authorization": f"Bearer {mesh.key}"})
    assert answer.headers["x-content-type-options"] == "nosniff"

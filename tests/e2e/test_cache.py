"""Answers given again: the same through every door, at no cost, and to nobody who must not have them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import openai
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc, cache_pb2, cache_pb2_grpc
from tests.mesh import Mesh, run

MODEL = "enginehouse-tiny"
USE = {"x-enginehouse-cache": "use"}
DEADLINE_S = 60

_numbers = itertools.count(1)


def fresh(about: str) -> str:
    """A question that no other test asks."""
    return f"Tell a story about {about}, number {next(_numbers)}"


def body(text: str, **changes: Any) -> dict[str, Any]:
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 24,
        "temperature": 0,
    }
    return asked | changes


def post(
    mesh: Mesh, path: str, body: dict[str, Any], *, key: str = "", headers: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.post(
        f"{mesh.url}{path}",
        json=body,
        headers={"authorization": f"Bearer {key or mesh.key}"} | (USE if headers is None else headers),
        timeout=DEADLINE_S,
    )


def chat(
    mesh: Mesh, text: str, *, key: str = "", headers: dict[str, str] | None = None, **changes: Any
) -> httpx.Response:
    answer = post(mesh, "/v1/chat/completions", body(text, **changes), key=key, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_kept(mesh: Mesh, ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Send a request until its answer comes from the cache: it is stored after it was sent."""
    first = ask()
    assert first.headers["x-enginehouse-cache"] == "miss"
    answers = [first]

    def hit() -> bool:
        answers.append(ask())
        return bool(answers[-1].headers["x-enginehouse-cache"] == "hit")

    until(hit)
    return answers[-1]


@pytest.fixture(scope="module")
def admin(mesh: Mesh) -> Any:
    with grpc.insecure_channel(mesh.target) as channel:
        yield channel


def metadata(mesh: Mesh) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {mesh.key}"),)


def stranger(mesh: Mesh, admin: grpc.Channel, name: str) -> str:
    """A key of another tenant."""
    stub = admin_pb2_grpc.AdminServiceStub(admin)
    tenant = stub.CreateTenant(admin_pb2.CreateTenantRequest(name=name, tier="pro"), metadata=metadata(mesh)).tenant
    made = stub.CreateKey(admin_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name=name), metadata=metadata(mesh))
    return str(made.secret)


def test_a_hit_is_the_same_answer_through_every_door_and_free(mesh: Mesh, admin: grpc.Channel) -> None:
    text = fresh("a crow")
    first = chat(mesh, text)
    assert first.headers["x-enginehouse-cache"] == "miss"
    made = first.json()
    assert made["usage"]["cost_nanos"] > 0
    until(lambda: chat(mesh, text).headers["x-enginehouse-cache"] == "hit")

    again = chat(mesh, text)
    given = again.json()
    assert given["choices"] == made["choices"]
    assert given["model"] == made["model"] == MODEL == again.headers["x-enginehouse-model"]
    assert given["id"] != made["id"]
    assert given["usage"] == made["usage"] | {"cost_nanos": 0}

    streamed = chat(mesh, text, stream=True, stream_options={"include_usage": True})
    assert streamed.headers["x-enginehouse-cache"] == "hit"
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    pieces = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(piece["delta"].get("content") or "" for piece in pieces) == made["choices"][0]["message"]["content"]
    assert pieces[-1]["finish_reason"] == made["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"]["cost_nanos"] == 0

    request = generation_pb2.GenerateRequest(
        model=MODEL,
        messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)],
        sampling=generation_pb2.Sampling(temperature=0),
        max_output_tokens=24,
    )
    call = generation_pb2_grpc.GenerationServiceStub(admin).Generate(
        request, metadata=(*metadata(mesh), *USE.items()), timeout=DEADLINE_S
    )
    messages = list(call)
    assert dict(call.initial_metadata())["x-enginehouse-cache"] == "hit"
    assert dict(call.trailing_metadata())["x-enginehouse-cost-nanos"] == "0"
    assert messages[0].model == MODEL
    assert messages[0].request_id == dict(call.initial_metadata())["x-enginehouse-request-id"]
    typed = "".join(delta.text for message in messages for delta in message.deltas)
    assert typed == made["choices"][0]["message"]["content"]
    assert messages[-1].summary.usage.cost_nanos == 0
    assert (
        sum(delta.token_count for message in messages for delta in message.deltas) == made["usage"]["completion_tokens"]
    )


def test_openais_own_client_reads_hits(mesh: Mesh) -> None:
    with openai.OpenAI(
        base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=DEADLINE_S, default_headers=USE
    ) as client:
        asked: Any = body(fresh("a fox"), logprobs=True, top_logprobs=2, n=2)
        made = client.chat.completions.create(**asked)
        until(lambda: client.chat.completions.with_raw_response.create(**asked).headers["x-enginehouse-cache"] == "hit")
        assert client.chat.completions.create(**asked).choices == made.choices
        streamed = ["", ""]
        for chunk in client.chat.completions.create(**asked, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
        assert streamed == [choice.message.content for choice in made.choices]

        prompt: Any = {"model": MODEL, "prompt": fresh("a mill"), "max_tokens": 8, "temperature": 0, "echo": True}
        completed = client.completions.create(**prompt)
        until(lambda: client.completions.with_raw_response.create(**prompt).headers["x-enginehouse-cache"] == "hit")
        assert client.completions.create(**prompt).choices == completed.choices

        words: Any = {"model": "all-minilm-l6-v2", "input": [fresh("a boat"), "a river"]}
        vectors = client.embeddings.create(**words)
        until(lambda: client.embeddings.with_raw_response.create(**words).headers["x-enginehouse-cache"] == "hit")
        again = client.embeddings.create(**words)
        assert again.data == vectors.data
        assert again.usage.total_tokens == vectors.usage.total_tokens
        assert again.usage.cost_nanos == 0  # type: ignore[attr-defined]


def test_tools_and_schemas_are_given_again(mesh: Mesh) -> None:
    schema = {"type": "object", "properties": {"animal": {"enum": ["crow", "fox"]}}, "required": ["animal"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    for change in (
        {"response_format": form, "max_tokens": 64},
        {"tools": [tool], "tool_choice": "required", "max_tokens": 64},
    ):
        text = fresh("an animal")
        made = chat(mesh, text, **change).json()["choices"]
        until(lambda t=text, c=change: chat(mesh, t, **c).headers["x-enginehouse-cache"] == "hit")  # type: ignore[misc]
        assert chat(mesh, text, **change).json()["choices"] == made


def test_nobody_else_gets_it_and_nothing_else_asked_gets_it(mesh: Mesh, admin: grpc.Channel) -> None:
    text = fresh("a secret")
    until_kept(mesh, lambda: chat(mesh, text))
    other = stranger(mesh, admin, f"stranger-{time.time_ns()}")
    assert chat(mesh, text, key=other).headers["x-enginehouse-cache"] == "miss"
    for change in ({"temperature": 0.1}, {"seed": 4}, {"max_tokens": 23}, {"top_p": 0.5}, {"stop": ["crow"]}):
        assert chat(mesh, text, **change).headers["x-enginehouse-cache"] == "miss"
    assert chat(mesh, text).headers["x-enginehouse-cache"] == "hit"


def test_nothing_is_kept_that_nobody_asked_to_keep(mesh: Mesh) -> None:
    text = fresh("a stone")
    for headers in ({}, USE | {"x-enginehouse-cache-class": "personal"}, {"x-enginehouse-cache": "off"}):
        for _ in range(2):
            answer = chat(mesh, text, headers=headers)
            assert "x-enginehouse-cache" not in answer.headers
            assert answer.json()["usage"]["cost_nanos"] > 0
    refused = post(mesh, "/v1/chat/completions", body(text), headers={"x-enginehouse-cache": "perhaps"})
    assert refused.status_code == 400
    assert "use, refresh, off" in refused.json()["error"]["message"]
    assert chat(mesh, text).headers["x-enginehouse-cache"] == "miss"


def test_refresh_makes_it_anew(mesh: Mesh) -> None:
    text = fresh("a spring")
    until_kept(mesh, lambda: chat(mesh, text))
    answer = chat(mesh, text, headers={"x-enginehouse-cache": "refresh"})
    assert answer.headers["x-enginehouse-cache"] == "refresh"
    assert answer.json()["usage"]["cost_nanos"] > 0


def test_an_invalidated_tag_is_given_to_nobody(mesh: Mesh, admin: grpc.Channel) -> None:
    stub = cache_pb2_grpc.CacheServiceStub(admin)
    name = f"collection:physics-{time.time_ns()}"
    seventh = USE | {"x-enginehouse-cache-tags": f"{name}@7, lesson:1"}
    text = fresh("physics")
    until_kept(mesh, lambda: chat(mesh, text, headers=seventh))
    # The next version of the collection has answers of its own.
    eighth = USE | {"x-enginehouse-cache-tags": f"lesson:1,{name}@8"}
    assert chat(mesh, text, headers=eighth).headers["x-enginehouse-cache"] == "miss"
    assert chat(mesh, text, headers=seventh).headers["x-enginehouse-cache"] == "hit"
    done = stub.InvalidateTag(cache_pb2.InvalidateTagRequest(tag=name), metadata=metadata(mesh))
    assert done.generation == 1
    assert chat(mesh, text, headers=seventh).headers["x-enginehouse-cache"] == "miss"
    with pytest.raises(grpc.RpcError) as refused:
        stub.InvalidateTag(cache_pb2.InvalidateTagRequest(tag="no spaces"), metadata=metadata(mesh))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_a_client_cannot_lead_itself_to_kept_answers(mesh: Mesh) -> None:
    text = fresh("a thief")
    made = chat(mesh, text, headers={"x-enginehouse-replay": "1", "x-gateway-destination-endpoint": "127.0.0.1:1"})
    assert made.json()["usage"]["cost_nanos"] > 0
    for service in ("AnswerService/Store", "UsageService/Report"):
        gone = httpx.post(
            f"{mesh.url}/enginehouse.api.router.v1.{service}",
            content=b"\0\0\0\0\0",
            headers={"content-type": "application/grpc", "authorization": f"Bearer {mesh.key}"},
            timeout=DEADLINE_S,
        )
        assert gone.status_code == 404 or gone.headers.get("grpc-status") == "12"


async def test_equal_requests_at_once_are_made_once(mesh: Mesh) -> None:
    _, key = mesh.create_key(f"flight-{time.time_ns()}", budget_nanos=10_000_000_000)
    text = fresh("a long road")
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:

        async def ask() -> httpx.Response:
            return await client.post(
                f"{mesh.url}/v1/chat/completions",
                json=body(text, max_tokens=120),
                headers={"authorization": f"Bearer {key}"} | USE,
            )

        answers = await asyncio.gather(*(ask() for _ in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    results = sorted(answer.headers["x-enginehouse-cache"] for answer in answers)
    assert results.count("miss") == 1
    assert set(results) <= {"miss", "shared", "hit"}
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1
    costs = [answer.json()["usage"]["cost_nanos"] for answer in answers]
    assert sum(cost > 0 for cost in costs) == 1


def test_hits_are_on_record_and_cost_nothing(mesh: Mesh) -> None:
    key_id, key = mesh.create_key(f"record-{time.time_ns()}", budget_nanos=10_000_000_000)
    text = fresh("a ledger")
    cost = chat(mesh, text, key=key).json()["usage"]["cost_nanos"]
    until(lambda: chat(mesh, text, key=key, headers=USE).headers["x-enginehouse-cache"] == "hit")
    before = int(mesh.command("spend", "--key", key_id)["total_nanos"])
    assert before in (0, cost)
    for _ in range(3):
        assert chat(mesh, text, key=key).headers["x-enginehouse-cache"] == "hit"

    def rows() -> dict[str, Any]:
        found: dict[str, Any] = mesh.command("spend", "--key", key_id)
        return found

    until(lambda: int(rows()["rows"][0]["requests"]) >= 5 if rows()["rows"] else False)
    assert int(rows()["total_nanos"]) == cost


async def test_a_cut_answer_is_never_given(mesh: Mesh) -> None:
    text = fresh("a broken bridge")
    async with (
        httpx.AsyncClient(timeout=DEADLINE_S) as client,
        client.stream(
            "POST",
            f"{mesh.url}/v1/chat/completions",
            json=body(text, max_tokens=200, stream=True),
            headers={"authorization": f"Bearer {mesh.key}"} | USE,
        ) as response,
    ):
        assert response.headers["x-enginehouse-cache"] == "miss"
        async for _ in response.aiter_bytes():
            break
    whole = await asyncio.to_thread(chat, mesh, text, max_tokens=200)
    # A fast model may have been done before its reader hung up; then its whole answer is given.
    if whole.headers["x-enginehouse-cache"] == "miss":
        assert whole.json()["usage"]["cost_nanos"] > 0
    plain = await asyncio.to_thread(chat, mesh, text, max_tokens=200, headers={})
    assert whole.json()["choices"] == plain.json()["choices"]


def test_a_key_may_share_answers_among_questions_of_one_meaning(mesh: Mesh, admin: grpc.Channel) -> None:
    stub = cache_pb2_grpc.CacheServiceStub(admin)
    key_id, key = mesh.create_key(f"meaning-{time.time_ns()}", budget_nanos=10_000_000_000)
    stub.SetCachePolicy(
        cache_pb2.SetCachePolicyRequest(
            key_id=key_id,
            mode=cache_pb2.CACHE_MODE_DETERMINISTIC,
            default_class=cache_pb2.CACHE_CLASS_FACTUAL,
            semantic=True,
            semantic_threshold=0.85,
        ),
        metadata=metadata(mesh),
    )
    policies = stub.ListCachePolicies(cache_pb2.ListCachePoliciesRequest(), metadata=metadata(mesh)).policies
    assert [policy.semantic for policy in policies if policy.key_id == key_id] == [True]
    asked, same = "What is the tallest mountain in the world?", "Which mountain is the tallest in the world?"

    def shares(seed: int) -> bool:
        first = chat(mesh, asked, key=key, headers={}, seed=seed)
        assert first.headers["x-enginehouse-cache"] == "miss"
        until(lambda: chat(mesh, asked, key=key, headers={}, seed=seed).headers["x-enginehouse-cache"] == "hit")
        near = chat(mesh, same, key=key, headers={}, seed=seed)
        if near.headers["x-enginehouse-cache"] == "miss":
            # A vector that comes too late is none, on a machine that is busy enough.
            return False
        assert near.headers["x-enginehouse-cache"] == "semantic"
        assert near.json()["choices"] == first.json()["choices"]
        assert near.json()["usage"]["cost_nanos"] == 0
        others = ("What is the smallest mountain in the world?", "What is the 2nd tallest mountain in the world?")
        for other in others:
            assert chat(mesh, other, key=key, headers={}, seed=seed).headers["x-enginehouse-cache"] == "miss"
        return True

    seeds = itertools.count()
    until(lambda: shares(next(seeds)))
    # Not what is drawn anew each time.
    assert chat(mesh, asked, key=key, headers={}, temperature=0.8).headers["x-enginehouse-cache"] == "bypass"


def test_a_cache_is_warmed(mesh: Mesh, admin: grpc.Channel) -> None:
    stub = cache_pb2_grpc.CacheServiceStub(admin)
    key_id, key = mesh.create_key(f"warm-{time.time_ns()}", budget_nanos=10_000_000_000)
    asked = body(fresh("a kettle"))
    entry = cache_pb2.WarmEntry(request_json=json.dumps(asked), answer="Once there was a kettle.")
    done = stub.WarmCache(cache_pb2.WarmCacheRequest(key_id=key_id, entries=[entry]), metadata=metadata(mesh))
    assert done.kept == 1
    given = post(mesh, "/v1/chat/completions", asked, key=key)
    assert given.headers["x-enginehouse-cache"] == "hit"
    choice = given.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Once there was a kettle.", "stop")
    wrong = cache_pb2.WarmEntry(request_json="{}", answer="x")
    with pytest.raises(grpc.RpcError) as refused:
        stub.WarmCache(cache_pb2.WarmCacheRequest(key_id=key_id, entries=[entry, wrong]), metadata=metadata(mesh))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    stats = stub.GetCacheStats(cache_pb2.GetCacheStatsRequest(), metadata=metadata(mesh))
    assert stats.entries > 0
    assert {lookup.result for lookup in stats.lookups} >= {"hit", "miss"}


def test_the_command_line(mesh: Mesh, tmp_path: Path) -> None:
    key_id, key = mesh.create_key(f"commands-{time.time_ns()}", budget_nanos=10_000_000_000)
    set_ = mesh.command("cache", "policy", key_id, "--mode", "always", "--class", "curriculum")["policies"]
    assert [(policy["key_id"], policy["mode"]) for policy in set_] == [(key_id, "CACHE_MODE_ALWAYS")]
    assert key_id in [policy["key_id"] for policy in mesh.command("cache", "policy")["policies"]]
    given, sent = body(fresh("a lamp")), body(fresh("a well"))
    file = tmp_path / "warm.jsonl"
    file.write_text(
        json.dumps({"request": given, "answer": "A lamp.", "finish_reason": "length"})
        + "\n\n"
        + json.dumps({"request": sent})
    )
    warmed = mesh.command("cache", "warm", str(file), "--key", key_id, "--class", "curriculum", "--tag", "unit:1")
    assert warmed == {"kept": 1, "sent": {"miss": 1}}
    tags = {"x-enginehouse-cache-tags": "unit:1"}
    answer = post(mesh, "/v1/chat/completions", given, key=key, headers=tags)
    assert answer.headers["x-enginehouse-cache"] == "hit"
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    until(lambda: post(mesh, "/v1/chat/completions", sent, headers=USE | tags).headers["x-enginehouse-cache"] == "hit")
    assert mesh.command("cache", "invalidate", "unit:1") == {"tag": "unit:1", "generation": 1}
    assert post(mesh, "/v1/chat/completions", given, key=key, headers=tags).headers["x-enginehouse-cache"] == "miss"
    stats = mesh.command("cache", "stats")
    assert int(stats["entries"]) > 0
    assert stats["router_id"]
    file.write_text('{"request": 5}')
    done = run("cache", "warm", str(file), "--url", mesh.url, "--api-key", mesh.key, timeout_s=60)
    assert done.returncode != 0
    assert "line 1" in done.stderr + done.stdout


def test_a_cleared_cache_gives_nothing(mesh: Mesh) -> None:
    text = fresh("a clean slate")
    until_kept(mesh, lambda: chat(mesh, text))
    assert mesh.command("cache", "clear") == {"cleared": "all"}
    assert chat(mesh, text).headers["x-enginehouse-cache"] == "miss"

"""curl and plain HTTP against the mesh."""

from __future__ import annotations

import json
import subprocess
import time

import httpx
import pytest

from tests.mesh import Mesh


def curl(mesh: Mesh, path: str, *arguments: str, key: str | None = None) -> tuple[int, str]:
    """Run curl; return the HTTP status and the body."""
    done = subprocess.run(
        [
            "curl",
            "--silent",
            "--max-time",
            "30",
            "--write-out",
            "\n%{http_code}",
            "--header",
            f"authorization: Bearer {key or mesh.key}",
            *arguments,
            mesh.url + path,
        ],
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_chat_by_curl(mesh: Mesh) -> None:
    status, body = curl(
        mesh,
        "/v1/chat/completions",
        "--json",
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
    )
    assert status == 200
    assert json.loads(body)["choices"][0]["message"]["content"]


def test_openai_stream_ends_with_done(mesh: Mesh) -> None:
    status, body = curl(
        mesh,
        "/v1/chat/completions",
        "--no-buffer",
        "--json",
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True}),
    )
    assert status == 200
    events = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events[:-1])


def test_typed_generation_as_json(mesh: Mesh) -> None:
    status, body = curl(
        mesh,
        "/v1/generate",
        "--json",
        json.dumps({"model": "auto", "prompt": "There was once", "max_output_tokens": 4}),
    )
    assert status == 200
    events = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
    assert events[0]["model"] == "enginehouse-tiny"
    assert int(events[-1]["summary"]["usage"]["cost_nanos"]) > 0


@pytest.mark.parametrize(
    ("path", "arguments", "status", "word"),
    [
        ("/v1/chat/completions", ["--json", "{"], 400, "JSON"),
        ("/v1/chat/completions", ["--json", "[]"], 400, "object"),
        ("/v1/chat/completions", ["--json", "{}"], 400, "model"),
        ("/v1/chat/completions", ["--json", '{"model": "auto", "messages": []}'], 400, "messages"),
        ("/v1/generate", ["--json", '{"max_output_tokens": "many"}'], 400, "many"),
        ("/v1/nothing", [], 404, "no such path"),
        ("/v1/chat/completions", [], 404, ""),
    ],
    ids=["torn", "list", "empty", "no messages", "wrong type", "unknown path", "wrong verb"],
)
def test_bad_requests_are_told_what_is_wrong(
    mesh: Mesh, path: str, arguments: list[str], status: int, word: str
) -> None:
    got, body = curl(mesh, path, *arguments)
    assert got in (status, 405) if status == 404 else got == status
    told = json.loads(body)
    assert word.lower() in json.dumps(told).lower()


def test_a_body_of_8_mib_is_refused_by_size(mesh: Mesh) -> None:
    answer = httpx.post(
        f"{mesh.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {mesh.key}", "content-type": "application/json"},
        content=b'{"model":"auto","messages":[{"role":"user","content":"' + b"a" * (8 << 20) + b'"}]}',
        timeout=30,
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["message"]


def test_models_have_the_time_of_their_catalog(mesh: Mesh) -> None:
    headers = {"authorization": f"Bearer {mesh.key}"}
    listed = httpx.get(f"{mesh.url}/v1/models", headers=headers).json()["data"]
    assert listed
    for model in listed:
        assert 1_700_000_000 < model["created"] <= time.time()
        assert httpx.get(f"{mesh.url}/v1/models/{model['id']}", headers=headers).json() == model


def test_a_refusal_by_the_router_has_the_requests_id(mesh: Mesh) -> None:
    for key in (mesh.key, "eh_wrong"):
        answer = httpx.get(f"{mesh.url}/v1/models/none", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code in (401, 404)
        assert answer.headers["x-request-id"] == answer.headers["x-enginehouse-request-id"]


def test_health_needs_no_key(mesh: Mesh) -> None:
    assert httpx.get(f"{mesh.url}/healthz").status_code == 200


def test_rate_limits_are_told_and_kept(mesh: Mesh) -> None:
    made = httpx.post(
        f"{mesh.url}/v1/admin/keys",
        headers={"authorization": f"Bearer {mesh.key}"},
        json={"name": "slow", "limits": {"requests_per_minute": 2}},
    ).json()
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    answers = [
        httpx.post(
            f"{mesh.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {made['secret']}"},
            json=body,
            timeout=30,
        )
        for _ in range(4)
    ]
    assert answers[0].status_code == 200
    assert "ratelimit-limit" in answers[0].headers
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert answers[-1].json()["error"]["message"]

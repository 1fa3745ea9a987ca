"""Policies and feedback through the public door: a file, two headers, and a rating."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from enginehouse.client import Enginehouse
from tests.mesh import Mesh, run

MODEL = "enginehouse-tiny"
DEADLINE_S = 60


@dataclass(frozen=True)
class House:
    """A tenant of its own, for which alone a policy is set."""

    mesh: Mesh
    tenant: str
    key: str

    def chat(self, text: str, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            f"{self.mesh.url}/v1/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 4},
            headers={"authorization": f"Bearer {self.key}", **sent},
            timeout=DEADLINE_S,
        )


@pytest.fixture(scope="module")
def house(mesh: Mesh) -> Iterator[House]:
    with Enginehouse(mesh.url, mesh.key) as client:
        tenant = client.admin.create_tenant("policy-house", tier="pro").tenant_id
        made = client.admin.create_key("policy-house", tenant_id=tenant)
        yield House(mesh, tenant, made.secret)
        for policy in list(client.policies.list()):
            if policy.version:
                client.policies.delete(policy.name)


def test_a_policy_file_routes_by_header_and_by_keyword(house: House, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    document: dict[str, Any] = {
        "name": "house",
        "tenants": [house.tenant],
        "subjects": [{"name": "maths", "specialists": [MODEL], "keywords": ["algebra"]}],
    }
    file.write_text(yaml.safe_dump({**document, "fallbacks": [{"model": MODEL, "models": [MODEL]}]}))
    environment = {"ENGINEHOUSE_URL": house.mesh.url, "ENGINEHOUSE_API_KEY": house.mesh.key}
    wrong = run("policies", "set", str(file), timeout_s=DEADLINE_S, environment=environment)
    assert wrong.returncode == 1
    assert f"{MODEL} -> {MODEL} is a cycle" in wrong.stderr
    file.write_text(yaml.safe_dump(document))
    assert house.mesh.command("policies", "set", str(file))["version"] == "1"

    refused = house.chat("a story of a crow")
    assert refused.status_code == 403
    assert "kept for the subject maths" in refused.json()["error"]["message"]
    for answer in (
        house.chat("a story of a crow", x_enginehouse_subject="maths"),
        house.chat("A story of algebra, please.", x_enginehouse_task="enhance"),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-enginehouse-model"] == MODEL
    assert house.chat("algebra", x_enginehouse_task="dream").status_code == 400
    told = house.mesh.command("explain", "algebra", "--task", "analyse")
    assert (told["task"], told["policy"]["name"]) == ("analyse", "default")


def test_an_answer_is_rated_over_http(house: House) -> None:
    answer = house.chat("hello", x_enginehouse_subject="maths")
    request_id = answer.headers["x-enginehouse-request-id"]

    def rate(key: str, **rating: Any) -> httpx.Response:
        return httpx.post(
            f"{house.mesh.url}/v1/feedback",
            json={"request_id": request_id, **rating},
            headers={"authorization": f"Bearer {key}"},
            timeout=DEADLINE_S,
        )

    # Usage is settled moments after the answer.
    deadline = time.monotonic() + DEADLINE_S
    while (rated := rate(house.key, thumb="THUMB_UP")).status_code == 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert rated.status_code == 200, rated.text
    assert rated.json()["model"] == MODEL
    kind = rated.json()["prompt_class"]
    assert kind.startswith("generate/")
    assert rate(house.key, thumb="THUMB_DOWN").json()["replaced"] is True
    # Another tenant's answers are nobody's business.
    assert rate(house.mesh.key, score=1.0).status_code == 404
    bad = rate(house.key, score=2)
    assert bad.status_code == 400
    summaries = house.mesh.command("feedback", "show", "--model", MODEL)["summaries"]
    assert [summary for summary in summaries if summary["prompt_class"] == kind and summary["mean_score"] == 0.0]

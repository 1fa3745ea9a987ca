"""Prices, discounts, caps and exported spend through the public door, with a real engine behind it."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import time
from typing import Any

import httpx

from enginehouse.client.requests.billing import UNITS
from tests.mesh import Mesh

MODEL = "enginehouse-tiny"


def generate(mesh: Mesh, key: str, *, prompt: str = "Once upon a time", **headers: str) -> httpx.Response:
    body = {"model": MODEL, "prompt": prompt, "max_output_tokens": 48}
    sent = {"authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(f"{mesh.url}/v1/generate", json=body, headers=sent, timeout=60)


def summary(response: httpx.Response) -> dict[str, Any]:
    """The last message of an answer: units, cost, why it ended."""
    assert response.status_code == 200, response.text
    messages = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    last = messages[-1]
    units = {
        usage["unit"].removeprefix("UNIT_").lower(): int(usage["amount"]) for usage in last["summary"]["usage"]["units"]
    }
    deltas = [delta for message in messages for delta in message.get("deltas", [])]
    stopped = [delta["stopped_by"] for delta in deltas if delta["stopped_by"] != "STOPPED_BY_UNSPECIFIED"]
    return {"units": units, "cost": int(last["summary"]["usage"]["cost_nanos"]), "stopped": stopped}


def prices(mesh: Mesh) -> dict[str, int]:
    found = mesh.command("prices", "list", "--model", MODEL)["prices"]
    return {price["unit"]: price["nanos_per_million"] for price in found}


def charge(units: dict[str, int], listed: dict[str, int], basis_points: int = 0) -> int:
    total = sum(-(-listed.get(unit, 0) * (10_000 - basis_points) // 10_000) * n for unit, n in units.items())
    return -(-total // 1_000_000)


def test_a_discount_is_taken_off_what_an_engine_charges(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("discounted")
    listed = prices(mesh)
    assert set(listed) <= set(UNITS)
    plain = summary(generate(mesh, key))
    assert plain["cost"] == charge(plain["units"], listed) > 0
    mesh.command("discounts", "set", "3333", "--key", key_id)
    cheaper = summary(generate(mesh, key))
    assert cheaper["cost"] == charge(cheaper["units"], listed, 3_333)
    settled(mesh, key_id, plain["cost"] + cheaper["cost"])


def settled(mesh: Mesh, key_id: str, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while mesh.spend(key_id) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mesh.spend(key_id) == wanted


def test_the_engine_stops_at_what_the_caller_allows(mesh: Mesh) -> None:
    _, key = mesh.create_key("capped")
    whole = summary(generate(mesh, key))
    cap = whole["cost"] // 2
    cut = summary(generate(mesh, key, x_enginehouse_max_cost_nanos=str(cap)))
    assert cut["cost"] <= cap
    assert cut["stopped"] == ["STOPPED_BY_BUDGET"]
    # The engine knows the input's tokens exactly, and says so where they cannot be paid.
    refused = generate(mesh, key, prompt="one two three " * 20, x_enginehouse_max_cost_nanos="51")
    assert refused.status_code == 429, refused.text
    assert "BUDGET_EXHAUSTED" in refused.text


def test_spend_comes_as_a_file(mesh: Mesh, tmp_path: pathlib.Path) -> None:
    key_id, key = mesh.create_key("exported")
    costs = [summary(generate(mesh, key, x_enginehouse_user_id=user))["cost"] for user in ("anna", "=1+1")]
    settled(mesh, key_id, sum(costs))
    response = httpx.get(
        f"{mesh.url}/v1/admin/spend:export",
        params={"key_id": key_id},
        headers={"authorization": f"Bearer {mesh.key}"},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [line["user_id"] for line in lines] == ["anna", "'=1+1"]
    assert [int(line["cost_nanos"]) for line in lines] == costs
    file = tmp_path / "spend.csv"
    assert mesh.command("spend", "export", "--csv", str(file), "--key", key_id)["bytes"] == len(response.content)
    assert file.read_bytes() == response.content

"""An engine of another distribution, installed from a folder outside the tree: docs/adding-an-engine.md."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
import yaml
from google.protobuf import descriptor_pb2

from enginehouse.client.errors import from_rpc_error
from tests.mesh import Mesh

ENGINE = pathlib.Path(__file__).parents[1] / "toy_engine"
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "adding-an-engine.md"
UV = pathlib.Path(sys.executable).parent / "uv"
ENGINEHOUSE = UV.with_name("enginehouse")
SIGNAL_NANOS = 3
"""The price of a signal in the engine's catalog."""
TEXT = "what hath god wrought " * 2
MAX_SIGNALS = 150
RECOVERY_S = 60.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """The folder that the engine is installed in, on the path of this process and its children."""
    source = tmp_path_factory.mktemp("source") / "morse"
    shutil.copytree(ENGINE, source)
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([str(UV), "pip", "install", *options, "--target", str(site), str(source)], check=True, timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.syspath_prepend(site)
        yield site


@pytest.fixture(scope="module")
def mesh(installed: pathlib.Path) -> Iterator[Mesh]:
    """A mesh with two of its engines, and no other."""
    with Mesh.started(config={"local": {"engines": {"inference": 0, "voice": 0, "morse": 2}}}) as running:
        yield running


def test_the_page_shows_its_code() -> None:
    shown = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    files = {path.relative_to(ENGINE).as_posix(): path for path in ENGINE.rglob("*") if path.is_file()}
    made = ("__init__.py", "_pb2.py", "_pb2_grpc.py", ".binpb", ".pyc")
    assert shown == {name: path.read_text() for name, path in files.items() if not name.endswith(made)}


def test_its_stubs_and_descriptors_are_of_one_contract(installed: pathlib.Path) -> None:
    from toy_morse.api import morse_pb2

    found = descriptor_pb2.FileDescriptorSet.FromString(
        (installed / "toy_morse" / "api" / "descriptors.binpb").read_bytes()
    )
    [ours] = [file for file in found.file if file.package == "toy.morse.v1"]
    for message in ours.message_type:
        for message_field in message.field:
            # The compiler writes it into descriptor sets, and not into stubs.
            message_field.ClearField("json_name")
    assert descriptor_pb2.FileDescriptorProto.FromString(morse_pb2.DESCRIPTOR.serialized_pb) == ours


def test_it_keeps_the_engine_protocol(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    section = {
        "engine_id": "{engine_id}",
        "listen": "{listen}",
        "http_listen": "127.0.0.1:0",
        "gateway_address": "{gateway}",
        "router_address": "{router}",
        "spool_dir": "{spool}",
        "grant_keys_file": "{grant_keys}",
        "catalog_file": str(installed / "toy_morse" / "catalog.yaml"),
        "models_dir": "{directory}/models",
    }
    (tmp_path / "template.yaml").write_text(yaml.safe_dump({"morse": section}))
    example = {"models": ["morse-international"], "request": {"model": "auto", "text": TEXT}}
    example |= {"long_request": {"model": "auto", "text": TEXT * 20}, "invalid_request": {"model": "auto"}}
    (tmp_path / "requests.json").write_text(json.dumps({"Transmit": example}))
    options = ["--config", str(tmp_path / "template.yaml"), "--request", str(tmp_path / "requests.json")]
    # The families of rules that a unit of its own and its contract bear on.
    for family in ("discovery", "message", "cap", "usage", "crash"):
        options += ["--rule", family]
    start = f"{sys.executable} -m toy_morse serve --config {{config}}"
    done = subprocess.run(
        [str(ENGINEHOUSE), "conformance", "--service", "toy.morse.v1.MorseService", "--command", start, *options],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def until(condition: Callable[[], bool], *, timeout_s: float = RECOVERY_S) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def transmit(mesh: Mesh, key: str, **fields: Any) -> tuple[str, Any]:
    """Call the engine over gRPC; return the signals and the usage."""
    from toy_morse.api import morse_pb2, morse_pb2_grpc

    request = morse_pb2.TransmitRequest(**{"model": "auto", **fields})
    with grpc.insecure_channel(mesh.target) as channel:
        stub = morse_pb2_grpc.MorseServiceStub(channel)
        answers = list(stub.Transmit(request, metadata=(("authorization", f"Bearer {key}"),), timeout=30))
    return " ".join(answer.signals for answer in answers if answer.signals), answers[-1].usage


def test_it_is_called_over_grpc_and_json_and_its_cost_is_in_spend(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("sailor", budget_nanos=1_000_000)
    signals, usage = transmit(mesh, key, text="SOS")
    assert signals == "... --- ..."
    assert usage.cost_nanos == 9 * SIGNAL_NANOS
    answer = httpx.post(
        f"{mesh.url}/v1/morse",
        headers={"authorization": f"Bearer {key}"},
        json={"model": "morse-international", "text": "sos"},
        timeout=30,
    )
    assert answer.status_code == 200
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    messages = [json.loads(line) for line in lines]
    assert [message["signals"] for message in messages if message.get("signals")] == ["...", "---", "..."]
    assert int(messages[-1]["usage"]["cost_nanos"]) == 9 * SIGNAL_NANOS
    until(lambda: mesh.spend(key_id) == 2 * 9 * SIGNAL_NANOS)
    rows = mesh.command("spend", "--key", key_id, "--by", "model")["rows"]
    assert [(row["group"], row["requests"], row["usage"]) for row in rows] == [
        ("morse-international", 2, {"signals": 18})
    ]


def test_its_calls_stay_within_budgets_and_caps(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("poor", budget_nanos=20 * SIGNAL_NANOS)
    with pytest.raises(grpc.RpcError) as caught:
        transmit(mesh, key, text="SOS")
    assert from_rpc_error(caught.value).reason == "BUDGET_EXHAUSTED"
    signals, usage = transmit(mesh, key, text="SOS", max_signals=5)
    assert (signals, usage.cost_nanos) == ("... --", 5 * SIGNAL_NANOS)
    until(lambda: mesh.spend(key_id) == 5 * SIGNAL_NANOS)


def test_its_errors_have_the_meshs_form(mesh: Mesh) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        transmit(mesh, mesh.key, text="naïve")
    error = from_rpc_error(caught.value)
    assert (error.reason, error.violations[0].field) == ("INVALID_REQUEST", "text")


def test_the_command_line_knows_it(mesh: Mesh) -> None:
    processes = json.loads(status(mesh))["processes"]
    assert {"morse-1", "morse-2"} <= {process["name"] for process in processes}
    engines = json.loads(status(mesh))["engines"]
    assert [(engine["cluster"], engine["models"]) for engine in engines if engine["cluster"] == "morse"] == [
        ("morse", ["morse-international"])
    ] * 2
    assert mesh.command("version")["packages"]["toy-morse"] == "1.0.0"


def status(mesh: Mesh) -> str:
    command = [str(ENGINEHOUSE), "status", "--data", str(mesh.data), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@dataclass
class Results:
    """The calls of a few callers that send requests without pause, by request id."""

    costs: dict[str, int] = field(default_factory=dict)
    """The costs of completed calls."""
    cut: dict[str, int] = field(default_factory=dict)
    """The signals that interrupted calls received."""
    stop: bool = False

    async def send(self, mesh: Mesh, key: str, caller: int) -> None:
        """Send requests until `stop` is set."""
        from toy_morse.api import morse_pb2, morse_pb2_grpc

        async with grpc.aio.insecure_channel(mesh.target) as channel:
            stub = morse_pb2_grpc.MorseServiceStub(channel)
            for number in itertools.count():
                if self.stop:
                    return
                request_id = f"load-{caller}-{number}"
                metadata = (("authorization", f"Bearer {key}"), ("x-enginehouse-request-id", request_id))
                received = 0
                try:
                    request = morse_pb2.TransmitRequest(model="auto", text=TEXT, max_signals=MAX_SIGNALS)
                    async for answer in stub.Transmit(request, metadata=metadata, timeout=30):
                        received += len(answer.signals)
                        if answer.HasField("usage"):
                            self.costs[request_id] = answer.usage.cost_nanos
                except grpc.aio.AioRpcError:
                    self.cut[request_id] = received


async def test_killed_under_load_the_survivor_serves_and_everything_is_settled_once(mesh: Mesh) -> None:
    budget_nanos = 10_000_000
    key_id, key = mesh.create_key("load", budget_nanos=budget_nanos)
    results = Results()
    callers = [asyncio.create_task(results.send(mesh, key, caller)) for caller in range(6)]

    async def more(count: int) -> None:
        enough = len(results.costs) + count
        await asyncio.to_thread(until, lambda: len(results.costs) >= enough)

    try:
        await more(12)
        engines = json.loads(await asyncio.to_thread(status, mesh))["engines"]
        busiest = max(engines, key=lambda engine: (engine["cluster"] == "morse", engine["active"]))
        name = busiest["engine_id"]
        # In a thread: the callers must not stand still meanwhile.
        victim = (await asyncio.to_thread(mesh.processes))[name]
        os.kill(victim, signal.SIGKILL)
        await more(12)
        await asyncio.to_thread(until, lambda: mesh.processes().get(name, victim) != victim)
        await more(12)
    finally:
        results.stop = True
        await asyncio.gather(*callers)
    # Calls that the victim had begun are interrupted; no other call notices.
    assert 0 < len(results.cut) <= len(callers)
    begun = {request_id for request_id, received in results.cut.items() if received}
    served = results.costs.keys() | begun
    await asyncio.to_thread(until, lambda: served <= {record["request_id"] for record in records(mesh, key_id)})
    # A call that the victim accepted and never began is settled at a time of its own.
    kept, spent, budget_settled = await asyncio.to_thread(unchanged_accounts, mesh, key_id)
    settled = {record["request_id"]: int(record["cost_nanos"]) for record in kept}
    assert len(settled) == len(kept)
    assert settled.keys() <= results.costs.keys() | results.cut.keys()
    assert {request_id: settled[request_id] for request_id in results.costs} == results.costs
    for request_id in begun:
        assert results.cut[request_id] * SIGNAL_NANOS <= settled[request_id] <= MAX_SIGNALS * SIGNAL_NANOS
    assert spent == budget_settled == sum(settled.values()) <= budget_nanos


def unchanged_accounts(mesh: Mesh, key_id: str) -> tuple[list[dict[str, str]], int, int]:
    """The key's usage records, its spend and its budget's, with nothing settled between the readings."""
    while True:
        before = records(mesh, key_id)
        spent = mesh.spend(key_id)
        [budget] = mesh.command("budgets", "list", "--of", key_id)["budgets"]
        if records(mesh, key_id) == before:
            return before, spent, int(budget["settled_nanos"])


def records(mesh: Mesh, key_id: str) -> list[dict[str, str]]:
    """The usage records of a key."""
    path = mesh.data / "usage.csv"
    mesh.command("spend", "export", "--csv", str(path), "--key", key_id)
    return list(csv.DictReader(io.StringIO(path.read_text())))

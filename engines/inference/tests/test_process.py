"""The engine as a process: what it says at start, what it serves, how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling, Tool, ToolChoice
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.testing import GrantIssuer, RegistryRecorder, UsageRecorder
from engines.inference.tests.text_engine import (
    OUTPUT,
    EngineClient,
    amounts,
    catalog_entry,
    user,
    write_config,
)


class Process:
    """`python -m enginehouse.engines.inference serve`, with a router's and a gateway's doors."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = GrantKeys.generate(directory / "grant.keys")
        self.recorder = UsageRecorder(keys=self.keys)
        self.registry = RegistryRecorder()
        self.child: asyncio.subprocess.Process | None = None
        self.errors = directory / "stderr"

    async def start(self, **changes: Any) -> None:
        self.doors = grpc.aio.server()
        self.recorder.add_to(self.doors)
        self.registry.add_to(self.doors)
        port = self.doors.add_insecure_port("127.0.0.1:0")
        await self.doors.start()
        config = write_config(self.directory, port=port, **changes)
        with self.errors.open("wb") as errors:
            self.child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "enginehouse.engines.inference", "serve", "--config", str(config), stderr=errors
            )

    async def registered(self) -> Any:
        await self.registry.wait_until(lambda registry: bool(registry.live), timeout_s=60)
        return next(iter(self.registry.live.values()))

    def client(self, channel: grpc.aio.Channel) -> EngineClient:
        return EngineClient(channel=channel, issuer=GrantIssuer(self.keys), recorder=self.recorder)

    async def end(self) -> tuple[int, str]:
        assert self.child is not None
        async with asyncio.timeout(120):
            return await self.child.wait(), self.errors.read_text()

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.errors.read_text().splitlines()]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    running = Process(tmp_path)
    yield running
    if running.child is not None and running.child.returncode is None:
        running.child.kill()
        await running.child.wait()
    await running.doors.stop(None)


async def test_the_default_catalog_is_served(process: Process) -> None:
    await process.start()
    engine = await process.registered()
    assert engine.cluster == "inference"
    assert {model.name for model in engine.models} == {"enginehouse-tiny", "smollm2-135m", "all-minilm-l6-v2"}
    assert set(engine.grpc_services) == {
        "enginehouse.api.inference.v1.GenerationService",
        "enginehouse.api.openai.v1.TextService",
    }
    async with grpc.aio.insecure_channel(engine.address) as channel:
        client = process.client(channel)
        story = GenerateRequest(
            model="enginehouse-tiny",
            messages=[user("Tell me a story about a clever crow")],
            max_output_tokens=40,
            sampling=Sampling(seed=1),
        )
        answer = await client.generate(story)
        assert len(answer.text[0].split()) > 5
        story.messages[0].content = "ఒక కథ చెప్పు"
        assert "\ufffd" not in (await client.generate(story)).text[0]
        story.messages[0].content = "Which weather is it in Guntur?"
        schema = {"properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
        story.tools.append(Tool(name="get_weather", parameters_json_schema=json.dumps(schema)))
        story.tool_choice.mode = ToolChoice.MODE_REQUIRED
        called = await client.generate(story)
        assert json.loads(called.calls[0][0]["arguments"]).keys() == {"city"}
        del story.tools[:]
        story.ClearField("tool_choice")
        story.format.CopyFrom(OutputFormat(json_schema='{"enum":["sunny","rainy"]}'))
        assert json.loads((await client.generate(story)).text[0]) in ("sunny", "rainy")
        embedding = await client.unary(
            "Embed", generation_pb2.EmbedRequest(model="x", inputs=["crow"]), models=["all-minilm-l6-v2"]
        )
        assert len(embedding.embeddings[0].values) == 384

        running = client.call(
            GenerateRequest(model="x", prompt="A", max_output_tokens=300), models=["enginehouse-tiny"]
        )
        await running.read()
        assert process.child is not None
        process.child.send_signal(signal.SIGTERM)
        await process.registry.wait_until(lambda registry: not registry.live)
        while (await running.read()) is not grpc.aio.EOF:
            pass
    status, _ = await process.end()
    assert status == 0
    assert len(process.recorder.settled) == 6
    assert {record.outcome for record in process.recorder.settled.values()} == {usage_pb2.OUTCOME_COMPLETED}


async def test_usage_of_a_killed_engine_is_reported_when_it_is_back(process: Process) -> None:
    await process.start(models=["enginehouse-tiny"])
    engine = await process.registered()
    async with grpc.aio.insecure_channel(engine.address) as channel:
        client = process.client(channel)
        request = GenerateRequest(
            model="x", prompt="A", max_output_tokens=500, format=OutputFormat(grammar="root ::= [a-z]{1900}")
        )
        call = client.call(request, models=["enginehouse-tiny"])
        sent = sum(delta.token_count for delta in (await call.read()).deltas)
        assert process.child is not None
        process.child.kill()
        with pytest.raises(grpc.aio.AioRpcError):
            while (response := await call.read()) is not grpc.aio.EOF:
                sent += sum(delta.token_count for delta in response.deltas)
        await process.end()
    await process.doors.stop(None)
    await process.start(models=["enginehouse-tiny"])
    await process.recorder.wait_until(lambda recorder: len(recorder.settled) == 1, timeout_s=60)
    [record] = process.recorder.settled.values()
    assert record.outcome == usage_pb2.OUTCOME_CRASHED
    assert sent <= amounts(record)[OUTPUT] <= 500


async def test_a_model_whose_weights_are_absent_is_left_out_and_says_so(process: Process) -> None:
    catalog = process.directory / "catalog.yaml"
    absent = catalog_entry(name="big", source="hf:org/repo/big.gguf")
    catalog.write_text(yaml.safe_dump({"models": [catalog_entry(), absent]}))
    await process.start(catalog_file=str(catalog))
    engine = await process.registered()
    assert [model.name for model in engine.models] == ["enginehouse-tiny"]
    async with grpc.aio.insecure_channel(engine.address) as channel:
        client = process.client(channel)
        error = await client.refused(GenerateRequest(model="big", prompt="x"))
    assert error.reason == "WEIGHTS_ABSENT"
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "enginehouse models pull big" in error.message
    assert any("not serving a model" in line["msg"] for line in process.logged())


async def test_an_engine_whose_runtime_hangs_ends_itself(process: Process, tiny: Path) -> None:
    catalog = process.directory / "catalog.yaml"
    model = catalog_entry(name="tiny", source=f"file:{tiny}", options={"slots": 1, "threads": 1})
    catalog.write_text(yaml.safe_dump({"models": [model]}))
    await process.start(catalog_file=str(catalog), hang_s=2, drain_s=0.5)
    engine = await process.registered()
    # Every letter doubles the ways in which llama.cpp can read the text so far.
    grammar = 'root ::= s\ns ::= "a" s "b" | "a" s "c"'
    async with grpc.aio.insecure_channel(engine.address) as channel:
        call = process.client(channel).call(
            GenerateRequest(model="tiny", prompt="x", format=OutputFormat(grammar=grammar), max_output_tokens=64)
        )
        with pytest.raises(grpc.aio.AioRpcError):
            while (await call.read()) is not grpc.aio.EOF:
                pass
    status, errors = await process.end()
    assert status == 1
    assert "llama.cpp hangs: no output for" in errors

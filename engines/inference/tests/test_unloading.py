"""A real llama.cpp model leaves memory when it is idle, never under a stream, and answers the same when it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.engine import ServedModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading import LoadingSettings, LoadState
from engines.inference.tests.text_engine import EngineClient, llama_model, running_engine

LOAD_MS = "x-enginehouse-load-ms"
SHORT = GenerateRequest(model="tiny", prompt="a river", max_output_tokens=8, sampling=Sampling(temperature=0))


async def until(served: ServedModel, state: LoadState) -> None:
    async with asyncio.timeout(10):
        while served.state is not state:
            await asyncio.sleep(0.005)


async def test_it_unloads_when_idle_and_not_under_a_stream(tiny_tools: Path, tmp_path: Path) -> None:
    model = llama_model("tiny", tiny_tools, context=2048)
    async with running_engine([model], directory=tmp_path, settings=LoadingSettings(keep_alive_s=0)) as engine:
        served = engine.engine.models.find("tiny")
        assert served.state is LoadState.UNLOADED
        first = await engine.generate(SHORT)
        await until(served, LoadState.UNLOADED)

        long = GenerateRequest(
            model="tiny", prompt="long", format=OutputFormat(grammar="root ::= [a-z]{1500}"), max_output_tokens=1500
        )
        stream = engine.call(long)
        begun = await stream.read()
        loaded = served.loaded
        assert int(dict(await stream.initial_metadata())[LOAD_MS]) >= 1
        # Another call comes and goes meanwhile: the stream alone keeps the model.
        second = await engine.generate(SHORT)
        assert served.loaded is loaded
        assert served.state is LoadState.LOADED
        assert begun.deltas
        received = sum(len(delta.text) for delta in begun.deltas)
        while (response := await stream.read()) is not grpc.aio.EOF:
            received += sum(len(delta.text) for delta in response.deltas)
        # Whole: the engine may end and unload while its last messages are still being read.
        assert received == 1500
        await until(served, LoadState.UNLOADED)

        third = await engine.generate(SHORT)
        assert first.text == second.text == third.text


async def test_a_call_says_how_long_it_waited_only_if_it_did(engine: EngineClient) -> None:
    waited = []
    for _ in range(2):
        call = engine.call(SHORT)
        assert [response async for response in call]
        waited.append(LOAD_MS in dict(await call.initial_metadata()))
    assert waited == [True, False]


async def test_what_is_known_before_loading_is_what_loading_finds(tiny: Path, tmp_path: Path) -> None:
    capabilities = frozenset({"embeddings"})
    models = [
        llama_model("tiny", tiny),
        llama_model("vectors", tiny, capabilities=capabilities, options={"pooling": "mean"}),
    ]
    backend = LlamaCppBackend(models_dir=tmp_path)
    for model in models:
        info = await backend.inspect(model)
        loaded = await backend.load(model)
        assert (loaded.info.slots, loaded.info.context_tokens) == (info.slots, info.context_tokens)
        assert loaded.info.embedding_dimensions == info.embedding_dimensions
        assert info.may_resume is (model.name == "tiny")
        # What the first load has measured holds for later inspections and loads.
        assert (await backend.inspect(model)).may_resume is loaded.info.may_resume
        await loaded.close()


async def test_the_estimate_grows_with_the_file_the_context_and_the_slots(tiny: Path, tmp_path: Path) -> None:
    backend = LlamaCppBackend(models_dir=tmp_path)

    async def estimate(context: int, slots: int) -> int:
        model = llama_model("tiny", tiny, context=context, options={"slots": slots})
        return (await backend.inspect(model)).memory_bytes

    small, longer, wider = await estimate(512, 1), await estimate(1024, 1), await estimate(512, 3)
    assert small > 0
    assert wider - small == 2 * (longer - small) > 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGML and more", "it begins with b'GGML', not with b'GGUF'"),
        (b"GGUF\x03\0\0\0" + b"\0" * 8 + b"\x05" + b"\0" * 7 + b"\x08", "it ends within its header"),
    ],
)
async def test_a_file_of_another_kind_is_refused_before_it_is_loaded(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ServiceError) as refused:
        await LlamaCppBackend(models_dir=tmp_path).inspect(llama_model("tiny", path))
    assert refused.value.reason is Reason.BACKEND_FAILED
    assert said in refused.value.message


async def test_listing_models_loads_none(engine: EngineClient) -> None:
    listed = await engine.unary("ListModels", generation_pb2.ListModelsRequest())
    assert [model.name for model in listed.models] == ["tiny", "tools"]
    assert all("resume" in model.capabilities for model in listed.models)
    assert all(served.state is LoadState.UNLOADED for served in engine.engine.models.all)

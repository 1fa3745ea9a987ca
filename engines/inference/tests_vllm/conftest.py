"""One vLLM engine for all the tests: it takes its time to start."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from enginehouse.engines.inference.backends.vllm import VllmBackend, VllmModel
from enginehouse.kit.catalog import CatalogModel

CONTEXT = 1024


def catalog_model(folder: Path, **options: object) -> CatalogModel:
    return CatalogModel(
        name="tiny",
        cluster="inference",
        backend="vllm",
        source=f"file:{folder}",
        context_tokens=CONTEXT,
        max_output_tokens=64,
        capabilities=frozenset({"chat", "completion", "json_schema", "grammar", "tools", "logprobs"}),
        quality=0.1,
        prices={},
        options=options,
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Imported here: pytest reads this file wherever tests are collected, with torch there or not.
    from engines.inference.tests_vllm.tiny_model import write_tiny_llama

    return write_tiny_llama(tmp_path_factory.mktemp("tiny"), context=CONTEXT)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def model(folder: Path) -> AsyncIterator[VllmModel]:
    # Not bound to cores: the machines that test share them.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    backend = VllmBackend(models_dir=folder.parent, environ=os.environ)
    loaded = await backend.load(catalog_model(folder, slots=8, kv_cache_gib=1, enforce_eager=True, dtype="float32"))
    yield loaded
    await loaded.close()

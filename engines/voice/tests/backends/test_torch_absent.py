"""Errors of the torch backends if their runtimes are not installed, or could never serve a model."""

import importlib.util
import sys

import pytest

from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

BACKENDS = {backend.name: backend for backend in (XttsBackend, FasterWhisperBackend, OpenaiWhisperBackend)}
RUNTIMES = {
    "xtts": ("TTS", "coqui-tts", "enginehouse-voice[xtts]"),
    "openai-whisper": ("whisper", "openai-whisper", "enginehouse-voice[whisper]"),
}


def catalog_model(backend: str, source: str, **options: object) -> CatalogModel:
    return CatalogModel(
        name="big",
        cluster="voice",
        backend=backend,
        source=source,
        context_tokens=0,
        max_output_tokens=0,
        capabilities=frozenset({"speech"}),
        quality=0.9,
        prices={},
        options=options,
    )


async def refused(models_dir, model: CatalogModel) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await BACKENDS[model.backend](models_dir=models_dir).load(model)
    return raised.value


@pytest.mark.parametrize("backend", RUNTIMES)
async def test_absent_runtimes_name_their_extra(tmp_path, backend):
    module, package, extra = RUNTIMES[backend]
    assert importlib.util.find_spec(module) is None, "these tests are for an environment without the runtimes"
    options = {"accept_licence": True} if backend == "xtts" else {}
    error = await refused(tmp_path, catalog_model(backend, "file:folder", **options))
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert f"the runtime {package} is not installed" in error.message
    assert f"pip install '{extra}'" in error.message


async def test_a_missing_faster_whisper_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    error = await refused(tmp_path, catalog_model("faster-whisper", "file:folder"))
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert error.message.endswith("the runtime faster-whisper is not installed; pip install faster-whisper")


async def test_the_licence_comes_first(tmp_path):
    error = await refused(tmp_path, catalog_model("xtts", "file:folder"))
    assert error.reason is Reason.FAILED_PRECONDITION
    assert error.violations[0].field == "options.accept_licence"


@pytest.mark.parametrize("backend", BACKENDS)
async def test_unknown_options_are_named(tmp_path, backend):
    error = await refused(tmp_path, catalog_model(backend, "file:folder", devise="cpu"))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == "options.devise"
    assert "did you mean 'device'?" in error.message

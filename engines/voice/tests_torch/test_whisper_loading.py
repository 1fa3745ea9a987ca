"""Loading of Whisper models, and errors of models that cannot be loaded."""

from __future__ import annotations

import json
import shutil

import ctranslate2
import pytest
import torch

from enginehouse.engines.voice.backends.base import RecognitionOptions
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import catalog_model, load_whisper
from engines.voice.tests_torch.sounds import voiced
from engines.voice.tests_torch.tiny_whisper import ENGLISH, SAID, make_blank_whisper, write_openai

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

RUNTIMES = ["faster-whisper", "openai-whisper"]


@pytest.fixture
def copy(whispers, tmp_path):
    shutil.copytree(whispers, tmp_path / "copy")
    return tmp_path / "copy"


async def refused(at, runtime, **options) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await load_whisper(at, runtime, **options)
    return raised.value


async def hello(recogniser):
    async def audio():
        yield voiced(ENGLISH, 2)

    return [segment.text async for segment in recogniser.transcribe(audio(), RecognitionOptions(word_times=True))]


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("faster-whisper", "folder/model.bin"),
        ("faster-whisper", "folder/config.json"),
        ("faster-whisper", "folder/tokenizer.json"),
        ("faster-whisper", "folder/vocabulary.json"),
        ("openai-whisper", "whisper.pt"),
    ],
)
async def test_missing_files_are_named(copy, runtime, name):
    (copy / name).unlink()
    error = await refused(copy, runtime)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert name.rpartition("/")[2] in error.message


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("faster-whisper", "folder/model.bin"),
        ("faster-whisper", "folder/config.json"),
        ("faster-whisper", "folder/tokenizer.json"),
        ("faster-whisper", "folder/preprocessor_config.json"),
        ("openai-whisper", "whisper.pt"),
    ],
)
async def test_corrupt_files_are_named(copy, runtime, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    error = await refused(copy, runtime)
    assert error.reason is Reason.BACKEND_FAILED
    assert str(copy / name) in error.message


async def test_features_that_do_not_fit_the_weights_are_named(copy):
    (copy / "folder" / "preprocessor_config.json").write_text(json.dumps({"feature_size": 128}))
    error = await refused(copy, "faster-whisper")
    assert error.reason is Reason.BACKEND_FAILED
    assert "preprocessor_config.json" in error.message
    assert "need 80" in error.message
    # Without the file, the runtime uses 80.
    (copy / "folder" / "preprocessor_config.json").unlink()
    recogniser = await load_whisper(copy, "faster-whisper", vad=False)
    assert await hello(recogniser) == [SAID["en"]]
    await recogniser.close()


async def test_pulled_models_are_found(whispers, tmp_path):
    cases = [
        (FasterWhisperBackend, "hf:some/model@v1", "some/model/v1", whispers / "folder"),
        (OpenaiWhisperBackend, "hf:some/model/pt/whisper.pt", "some/model/main/pt", whispers / "whisper.pt"),
    ]
    for backend, source, place, weights in cases:
        model = catalog_model(backend.name, source, vad=False)
        with pytest.raises(ServiceError) as raised:
            await backend(models_dir=tmp_path).load(model)
        assert raised.value.reason is Reason.WEIGHTS_ABSENT
        assert "enginehouse models pull tiny" in raised.value.message
        if weights.is_dir():
            shutil.copytree(weights, tmp_path / "hf" / place)
        else:
            (tmp_path / "hf" / place).mkdir(parents=True)
            shutil.copy(weights, tmp_path / "hf" / place)
        loaded = await backend(models_dir=tmp_path).load(model)
        assert await hello(loaded.recogniser) == [SAID["en"]]
        await loaded.close()


async def test_a_models_heads_are_only_taken_by_a_model_that_has_them(copy):
    """The published tiny.pt has other layers: a file of its name may be any model."""
    (copy / "whisper.pt").rename(copy / "tiny.pt")
    loaded = await OpenaiWhisperBackend(models_dir=copy).load(
        catalog_model("openai-whisper", "file:tiny.pt", vad=False)
    )
    assert await hello(loaded.recogniser) == [SAID["en"]]
    await loaded.close()


async def test_a_model_for_english_alone(tmp_path):
    write_openai(make_blank_whisper(n_vocab=51864), tmp_path / "whisper.pt")
    recogniser = await load_whisper(tmp_path, "openai-whisper")
    assert list(recogniser.info.languages) == ["en"]
    assert not recogniser.info.translates

    async def audio():
        yield voiced(ENGLISH, 1)

    for options, field in (
        (RecognitionOptions(language="de"), "options.language"),
        (RecognitionOptions(translate=True), "options.translate"),
    ):
        with pytest.raises(ServiceError) as raised:
            await anext(recogniser.transcribe(audio(), options))
        assert raised.value.reason is Reason.INVALID_REQUEST
        assert raised.value.violations[0].field == field
    await recogniser.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "cuda"}, "options.device"),
        ({"beam_size": 0}, "options.beam_size"),
        ({"compute_type": "int3"}, "options.compute_type"),
        ({"beamsize": 3}, "did you mean 'beam_size'?"),
    ],
)
async def test_invalid_options(whispers, runtime, options, told):
    cuda = torch.cuda.is_available() or ctranslate2.get_cuda_device_count()
    if options.get("device") == "cuda" and cuda:
        pytest.skip("there is a CUDA device here")
    error = await refused(whispers, runtime, **options)
    assert error.reason is Reason.INVALID_REQUEST
    assert told in error.message


async def test_half_precision_needs_cuda(whispers):
    error = await refused(whispers, "openai-whisper", compute_type="float16", device="cpu")
    assert error.reason is Reason.INVALID_REQUEST
    assert "float32" in error.message


@pytest.mark.parametrize(
    ("runtime", "source"),
    [("faster-whisper", "hf:one"), ("openai-whisper", "hf:org/repo"), ("openai-whisper", "small")],
)
async def test_sources_of_another_form(whispers, runtime, source):
    backend = {"faster-whisper": FasterWhisperBackend, "openai-whisper": OpenaiWhisperBackend}[runtime]
    with pytest.raises(ServiceError) as raised:
        await backend(models_dir=whispers).load(catalog_model(runtime, source))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert source in raised.value.message

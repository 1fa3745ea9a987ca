"""Loading of Whisper models, and errors of models that cannot be loaded."""

from __future__ import annotations

import shutil

import pytest
import torch

from enginehouse.engines.voice.backends.base import RecognitionOptions
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import catalog_model, load_whisper
from engines.voice.tests_torch.sounds import voiced
from engines.voice.tests_torch.tiny_whisper import ENGLISH, SAID, make_blank_whisper, write_openai

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


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


async def test_a_missing_file_is_named(copy):
    (copy / "whisper.pt").unlink()
    error = await refused(copy, "openai-whisper")
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "whisper.pt" in error.message


async def test_a_corrupt_file_is_named(copy):
    content = (copy / "whisper.pt").read_bytes()
    (copy / "whisper.pt").write_bytes(content[: len(content) // 2])
    error = await refused(copy, "openai-whisper")
    assert error.reason is Reason.BACKEND_FAILED
    assert str(copy / "whisper.pt") in error.message


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "cuda"}, "options.device"),
        ({"beam_size": 0}, "options.beam_size"),
        ({"compute_type": "int3"}, "options.compute_type"),
        ({"beamsize": 3}, "did you mean 'beam_size'?"),
    ],
)
async def test_invalid_options(whispers, options, told):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    error = await refused(whispers, "openai-whisper", **options)
    assert error.reason is Reason.INVALID_REQUEST
    assert told in error.message


async def test_half_precision_needs_cuda(whispers):
    error = await refused(whispers, "openai-whisper", compute_type="float16", device="cpu")
    assert error.reason is Reason.INVALID_REQUEST
    assert "float32" in error.message


@pytest.mark.parametrize("source", ["hf:org/repo", "small"])
async def test_sources_of_another_form(whispers, source):
    with pytest.raises(ServiceError) as raised:
        await OpenaiWhisperBackend(models_dir=whispers).load(catalog_model("openai-whisper", source))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert source in raised.value.message

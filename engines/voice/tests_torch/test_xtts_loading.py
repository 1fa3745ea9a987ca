"""Loading of XTTS models, and errors of models that cannot be loaded."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from enginehouse.engines.voice.backends.base import Utterance
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import catalog_model, load_xtts
from engines.voice.tests_torch.tiny_xtts import write_tiny_xtts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

FILES = ["config.json", "model.pth", "vocab.json", "speakers_xtts.pth"]


@pytest.fixture
def folder(xtts_folder, tmp_path):
    shutil.copytree(xtts_folder, tmp_path / "copy")
    return tmp_path / "copy"


async def refused(folder, **options) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await load_xtts(folder, **options)
    return raised.value


async def hello(speaker):
    return np.concatenate([chunk async for chunk in speaker.speak(Utterance(text="Hi.", language="en", voice=""))])


async def test_the_licence_must_be_accepted(xtts_folder):
    backend = XttsBackend(models_dir=xtts_folder.parent)
    for options in ({}, {"accept_licence": False}):
        with pytest.raises(ServiceError) as raised:
            await backend.load(catalog_model("xtts", f"file:{xtts_folder.name}", **options))
        assert raised.value.reason is Reason.FAILED_PRECONDITION
        assert "Coqui Public Model License" in raised.value.message
        assert "accept_licence: true" in raised.value.message


@pytest.mark.parametrize("name", FILES)
async def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    error = await refused(folder)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert f"lacks {name};" in error.message
    assert "hf download coqui/XTTS-v2" in error.message


@pytest.mark.parametrize("name", FILES)
async def test_corrupt_files_are_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    error = await refused(folder)
    assert error.reason is Reason.BACKEND_FAILED
    assert f"{folder / name} cannot be read" in error.message


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", {"model": "vits"}, "'vits'"),
        ("vocab.json", None, "[START] or [STOP] is missing"),
        ("speakers_xtts.pth", {"Nobody": {"gpt_cond_latent": torch.zeros(1, 32, 64)}}, "'Nobody' lacks"),
        (
            "speakers_xtts.pth",
            {"Other": {"gpt_cond_latent": torch.zeros(1, 32, 8), "speaker_embedding": torch.zeros(1, 512, 1)}},
            "of another model",
        ),
        ("model.pth", {"model": {"gpt.mel_head.bias": torch.zeros(3)}}, "does not fit config.json"),
    ],
)
async def test_files_of_something_else_are_named(folder, name, content, told):
    if name.endswith(".pth"):
        torch.save(content, folder / name)
    elif content is None:
        vocabulary = json.loads((folder / name).read_text())
        vocabulary["added_tokens"] = [t for t in vocabulary["added_tokens"] if t["content"] != "[START]"]
        del vocabulary["model"]["vocab"]["[START]"]
        (folder / name).write_text(json.dumps(vocabulary))
    else:
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **content}))
    error = await refused(folder)
    assert error.reason is Reason.BACKEND_FAILED
    assert name in error.message
    assert told in error.message


async def test_weights_that_run_code_are_refused(folder, tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"model": {}, "config": Harm()}, folder / "model.pth")
    error = await refused(folder)
    assert error.reason is Reason.BACKEND_FAILED
    assert not (tmp_path / "harm").exists()


async def test_weights_in_their_first_form_load_and_stay_as_they_are(speaker, tmp_path):
    folder = write_tiny_xtts(tmp_path, legacy=True)
    before = hashlib.sha256((folder / "model.pth").read_bytes()).digest()
    loaded = await load_xtts(folder)
    assert np.array_equal(await hello(loaded.speaker), await hello(speaker))
    assert hashlib.sha256((folder / "model.pth").read_bytes()).digest() == before
    await loaded.close()


async def test_weights_of_a_training_load(speaker, folder):
    saved = torch.load(folder / "model.pth", weights_only=True)["model"]
    trained = {f"xtts.{name}": weight for name, weight in saved.items()}
    torch.save({"model": {**trained, "xtts.dvae.codebook": torch.zeros(2)}}, folder / "model.pth")
    loaded = await load_xtts(folder)
    assert np.array_equal(await hello(loaded.speaker), await hello(speaker))
    await loaded.close()


async def test_a_pulled_repository_is_found(xtts_folder, tmp_path):
    backend = XttsBackend(models_dir=tmp_path)
    model = catalog_model("xtts", "hf:coqui/XTTS-v2", accept_licence=True)
    with pytest.raises(ServiceError) as raised:
        await backend.load(model)
    assert "enginehouse models pull tiny" in raised.value.message
    shutil.copytree(xtts_folder, tmp_path / "hf" / "coqui" / "XTTS-v2" / "main")
    loaded = await backend.load(model)
    assert loaded.speaker.info.sample_rate == 24_000
    await loaded.close()


async def test_a_model_without_speakers_needs_a_cloned_voice(folder):
    torch.save({}, folder / "speakers_xtts.pth")
    loaded = await load_xtts(folder)
    assert not loaded.speaker.info.voices
    with pytest.raises(ServiceError) as raised:
        await hello(loaded.speaker)
    assert raised.value.violations[0].field == "controls.voice"
    await loaded.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "cuda"}, "options.device"),
        ({"device": "tpu"}, "options.device"),
        ({"accept_license": True}, "did you mean 'accept_licence'?"),
    ],
)
async def test_invalid_options(xtts_folder, options, told):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    error = await refused(xtts_folder, **options)
    assert error.reason is Reason.INVALID_REQUEST
    assert told in error.message

"""Audio made in windows equals audio made at once, to the sample and by the library's own computation."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.xtts._model import XttsModel
from enginehouse.engines.voice.backends.xtts._vocoder import RECEPTIVE_FRAMES, TimeStretcher, Vocoder


def always():
    """Never cancel."""


@given(
    scale=st.sampled_from([4.0, 160 / 147, 0.25, 0.28, 0.6, 1.0, 4 / 3, 2.0]),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=150)
def test_pieces_are_stretched_like_the_whole(scale, sizes, seed):
    columns = torch.randn(3, sum(sizes) + 1, generator=torch.Generator().manual_seed(seed))
    stretcher = TimeStretcher(scale)
    pieces = list(columns.split([*sizes, 1], dim=-1))
    made = torch.cat([stretcher.push(piece, last=piece is pieces[-1]) for piece in pieces], dim=-1)
    length = int(columns.shape[-1] * scale)
    if length in (0, columns.shape[-1]):
        # Torch refuses the first and copies in the second case; both are at most a dozen columns.
        assert made.shape == (3, length)
        return
    whole = torch.nn.functional.interpolate(columns[None], scale_factor=scale, mode="linear")[0]
    assert made.shape == whole.shape
    assert torch.allclose(made, whole, atol=1e-4)


@pytest.fixture(scope="module")
def model(xtts_folder, tmp_path_factory):
    """A model that always samples the likeliest code: two ways of sampling then agree."""
    folder = tmp_path_factory.mktemp("greedy") / "xtts"
    shutil.copytree(xtts_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["top_k"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    return XttsModel(folder, device="cpu")


@pytest.mark.parametrize("sizes", [[1] * 12, [10, 20, 3], [40]])
@torch.inference_mode()
def test_windows_sound_as_the_whole(model, sizes):
    decoder = model._model.hifigan_decoder
    latents = torch.randn(sum(sizes), model._model.args.decoder_input_dim, generator=torch.Generator().manual_seed(1))
    voice = torch.nn.functional.normalize(torch.ones(1, 512, 1), dim=1)
    vocoder = Vocoder(decoder=decoder, speaker=voice, speed=1.0)
    pieces = latents.split(sizes)
    made = np.concatenate([vocoder.push(piece, last=index == len(sizes) - 1) for index, piece in enumerate(pieces)])
    whole = decoder(latents[None], g=voice).flatten().numpy() * 32767
    assert len(made) == len(whole)
    assert np.abs(made - whole).max() < 1


@torch.inference_mode()
def test_samples_depend_on_no_frame_out_of_reach(model):
    decoder = model._model.hifigan_decoder.waveform_decoder
    voice = torch.nn.functional.normalize(torch.ones(1, 512, 1), dim=1)
    middle = RECEPTIVE_FRAMES + 10

    def depends(reach):
        """Return whether frames that far away affect the middle frame's audio: NaN spreads to it."""
        frames = torch.full((1, model._model.args.decoder_input_dim, 2 * middle + 1), torch.nan)
        frames[..., middle - reach : middle + reach + 1] = 0
        return bool(decoder(frames, g=voice)[..., middle * 256 : (middle + 1) * 256].isnan().any())

    assert not depends(RECEPTIVE_FRAMES)
    assert depends(RECEPTIVE_FRAMES - 1)


@pytest.mark.parametrize("speed", [1.0, 1.4])
def test_the_librarys_own_loop_makes_the_same_audio(model, speed):
    text = "good morning, my dear world"
    prompt, embedding = model._speakers["Damien Black"]
    config = model._model.config
    reference = model._model.inference(
        text,
        "en",
        prompt,
        embedding,
        temperature=config.temperature,
        repetition_penalty=config.repetition_penalty,
        top_p=config.top_p,
        top_k=1,
        do_sample=True,
        speed=speed,
    )["wav"]
    made = np.concatenate(list(model.speak(text, language="en", voice="Damien Black", speed=speed, check=always)))
    assert len(made) == len(reference)
    assert np.corrcoef(made, reference)[0, 1] > 0.999

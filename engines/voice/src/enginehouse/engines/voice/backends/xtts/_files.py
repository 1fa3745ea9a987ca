"""Load the files of an XTTS model, and name the file at fault in errors.

The library's own loader rewrites weights that were saved in the first format; this one only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch  # type: ignore[import-not-found]
from TTS.config.shared_configs import BaseDatasetConfig  # type: ignore[import-not-found]
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig  # type: ignore[import-not-found]
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer  # type: ignore[import-not-found]
from TTS.tts.models.xtts import Xtts  # type: ignore[import-not-found]

from enginehouse.engines.voice.backends.xtts._options import CONFIG, SPEAKERS, VOCABULARY, WEIGHTS
from enginehouse.kit.errors import clip

Read = TypeVar("Read")

# Objects besides tensors in the weights' first format: its settings, under their names at that time.
_SETTINGS = [
    XttsConfig,
    BaseDatasetConfig,
    (XttsArgs, "TTS.tts.models.xtts.XttsArgs"),
    (XttsAudioConfig, "TTS.tts.models.xtts.XttsAudioConfig"),
]
# Weights that only training needs.
_TRAINING = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
# The first version also saved modules that are derived from the GPT for inference.
_DERIVED_FROM_GPT = ("gpt.gpt_inference.", "gpt.gpt.wte.")


class InvalidModelFile(Exception):
    """A file that cannot be used; the message names it and the fault."""


def read_config(folder: Path) -> Any:
    """Load the configuration. Raises InvalidModelFile."""
    return _read(folder / CONFIG, _read_config)


def read_speaker_names(folder: Path) -> Sequence[str]:
    """Return the names of the speakers, in the file's order. Raises InvalidModelFile."""
    path = folder / SPEAKERS
    speakers = _read(path, lambda path: torch.load(path, map_location="cpu", weights_only=True))
    if not isinstance(speakers, dict):
        raise InvalidModelFile(f"{path} has no speakers by name")
    return [str(name) for name in speakers]


def read_model(folder: Path, *, device: str) -> Any:
    """Load the model, ready for inference on the device. Raises InvalidModelFile."""
    config = read_config(folder)
    tokenizer = _read(folder / VOCABULARY, VoiceBpeTokenizer)
    if None in [tokenizer.tokenizer.token_to_id(token) for token in ("[START]", "[STOP]")]:
        raise InvalidModelFile(f"{folder / VOCABULARY} is no vocabulary of XTTS: [START] or [STOP] is missing")
    # Otherwise its constructor would make the GPT once in vain: it is made for the vocabulary, below.
    config.model_args.gpt_number_text_tokens = None
    model = Xtts(config)
    model.tokenizer = tokenizer
    model.init_models()
    weights = _read(folder / WEIGHTS, _read_weights)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InvalidModelFile(
            f"{folder / WEIGHTS} does not fit {CONFIG} and {VOCABULARY}: {clip(str(error), 400)}"
        ) from error
    model.to(device)
    model.eval()
    return model


def read_speakers(folder: Path, model: Any) -> Mapping[str, tuple[Any, Any]]:
    """Load each speaker's latents and embedding by name, in the file's order. Raises InvalidModelFile."""
    path = folder / SPEAKERS
    speakers = _read(path, lambda path: torch.load(path, map_location=model.device, weights_only=True))
    channels, dimensions = model.args.gpt_n_model_channels, model.args.d_vector_dim
    if not isinstance(speakers, dict):
        raise InvalidModelFile(f"{path} has no speakers by name")
    found = {}
    for name, parts in speakers.items():
        try:
            latents, embedding = parts["gpt_cond_latent"].float(), parts["speaker_embedding"].float()
        except (TypeError, KeyError, AttributeError) as error:
            raise InvalidModelFile(f"{path}: the speaker {name!r} lacks its latents or its embedding") from error
        if latents.ndim != 3 or latents.shape[-1] != channels or embedding.shape != (1, dimensions, 1):
            raise InvalidModelFile(
                f"{path}: the speaker {name!r} is of another model: latents of {tuple(latents.shape)} for {channels} "
                f"channels, embedding of {tuple(embedding.shape)} for {dimensions}"
            )
        found[str(name)] = (latents, embedding)
    return found


def _read(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except Exception as error:
        # An invalid file fails in any way: in JSON, in pickles, in archives.
        raise InvalidModelFile(f"{path} cannot be read: {type(error).__name__}: {clip(str(error), 300)}") from error


def _read_config(path: Path) -> Any:
    config = XttsConfig()
    config.load_json(str(path))
    if config.model != "xtts":
        raise ValueError(f"the model is {config.model!r}, not 'xtts'")
    return config


def _read_weights(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals(_SETTINGS):
        saved = torch.load(path, map_location="cpu", weights_only=True)
    named = {key.removeprefix("xtts."): value for key, value in saved["model"].items()}
    return {
        key: value
        for key, value in named.items()
        if key.partition(".")[0] not in _TRAINING and not key.startswith(_DERIVED_FROM_GPT)
    }

"""Write a tiny XTTS of the real architecture with random weights: it tests code paths, not speech.

The GPT is tiny; the vocoder and the speaker encoder, whose sizes the library fixes, are as large as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.xtts import Xtts

CHANNELS = 64
MAX_CODES = 45
SPEAKERS = ("Claribel Dervla", "Damien Black")


def write_tiny_xtts(folder: Path, *, legacy: bool = False) -> Path:
    """Write the four files; `legacy` saves the weights in their first published format, with settings."""
    torch.manual_seed(11)
    config = XttsConfig(
        model_args=XttsArgs(
            gpt_layers=2,
            gpt_n_model_channels=CHANNELS,
            gpt_n_heads=4,
            gpt_max_audio_tokens=MAX_CODES + 3,
            gpt_max_text_tokens=402,
            gpt_num_audio_tokens=130,
            gpt_start_audio_token=128,
            gpt_stop_audio_token=129,
            gpt_use_perceiver_resampler=True,
            decoder_input_dim=CHANNELS,
        ),
        temperature=0.75,
        repetition_penalty=5.0,
    )
    config.save_json(str(folder / "config.json"))
    _write_vocabulary(folder / "vocab.json")
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(folder / "vocab.json")
    model.init_models()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and name.startswith("gpt."):
                weight.normal_(std=0.15)
        # It would stop anywhere: make it generate up to its maximum.
        model.gpt.mel_head.bias[config.model_args.gpt_stop_audio_token] = -1e4
    saved: dict[str, object] = {"model": model.state_dict()}
    if legacy:
        saved["config"] = config
        for settings in (XttsArgs, type(config.audio)):
            settings.__module__ = "TTS.tts.models.xtts"
    torch.save(saved, folder / "model.pth")
    for settings in (XttsArgs, type(config.audio)):
        settings.__module__ = "TTS.tts.configs.xtts_config"
    speakers = {
        name: {
            "gpt_cond_latent": torch.randn(1, 32, CHANNELS),
            "speaker_embedding": torch.nn.functional.normalize(torch.randn(1, 512, 1), dim=1),
        }
        for name in SPEAKERS
    }
    torch.save(speakers, folder / "speakers_xtts.pth")
    return folder


def _write_vocabulary(path: Path) -> None:
    special = ["[STOP]", "[UNK]", "[SPACE]", "[START]"]
    special += [f"[{language}]" for language in XttsConfig().languages]
    letters = sorted({chr(code) for code in range(33, 127)} | set("äöüßéèáñçığşа0123456789"))
    vocabulary = {token: index for index, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))

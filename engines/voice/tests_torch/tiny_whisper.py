"""Make a tiny Whisper of the real architecture that knows two sentences, and write it in both runtimes' formats.

It is as small as it can be and is taught within seconds: a low voice says "hello world" in English, a high one "guten
Morgen" in German, which is "welcome back" in English here. How long they speak it learns roughly.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import ctranslate2
import numpy as np
import torch
import whisper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_encoding, get_tokenizer

from engines.voice.tests_torch.sounds import voiced

ENGLISH, GERMAN = 110.0, 220.0
"""The pitches of the speakers."""
SAID = {"en": "hello world", "de": "guten Morgen"}
"""Their sentences."""
IN_ENGLISH = {"en": "hello world", "de": "welcome back"}
"""The sentences in English."""

_WIDTH = 64
_LENGTHS_S = (1.5, 2.0, 3.0, 5.0, 10.0, 28.0)
_STEPS = 160
# The frames that are used in training: faster, with the same result.
_EVERY = 5


def make_tiny_whisper() -> Whisper:
    """Make and train the model, in this thread only."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(3)
        return _taught(make_blank_whisper())
    finally:
        torch.set_num_threads(threads)


def make_blank_whisper(*, n_vocab: int = 51865) -> Whisper:
    """Make an untrained model; with 51,864 tokens it is English-only."""
    model = Whisper(
        ModelDimensions(
            n_mels=80,
            n_audio_ctx=1500,
            n_audio_state=_WIDTH,
            n_audio_head=1,
            n_audio_layer=1,
            n_vocab=n_vocab,
            n_text_ctx=448,
            n_text_state=_WIDTH,
            n_text_head=1,
            n_text_layer=2,
        )
    )
    with torch.no_grad():
        # Its constructor leaves them uninitialized.
        model.decoder.positional_embedding.normal_(std=0.02)
        # Tokens that it never learns: they score nothing, whatever the audio.
        model.decoder.token_embedding.weight.zero_()
        for convolution in (model.encoder.conv1, model.encoder.conv2):
            convolution.weight.mul_(3)
        for block in model.encoder.blocks:
            # Passes its input on: untrained, it would garble it.
            for layer in (block.attn.out, block.mlp[2]):
                layer.weight.zero_()
                layer.bias.zero_()
    return model


def _taught(model: Whisper) -> Whisper:
    tokenizer = get_tokenizer(True, num_languages=99)
    begin = tokenizer.timestamp_begin
    sounds, lessons = [], []
    for pitch, language in ((ENGLISH, "en"), (GERMAN, "de")):
        for seconds in _LENGTHS_S:
            sounds.append(voiced(pitch, seconds).astype(np.float32) / 32768)
            for task, texts in (("transcribe", SAID), ("translate", IN_ENGLISH)):
                head = [tokenizer.sot, tokenizer.to_language_token(language), tokenizer.special_tokens[f"<|{task}|>"]]
                text = tokenizer.encode(" " + texts[language])
                lesson = [*head, begin, *text, begin + round(seconds * 50), tokenizer.eot]
                lessons.append((len(sounds) - 1, lesson))
    with torch.inference_mode():
        mels = [whisper.log_mel_spectrogram(whisper.pad_or_trim(sound)) for sound in sounds]
        heard = torch.cat([model.encoder(mel[None]) for mel in mels])[:, ::_EVERY]
    used = sorted({token for _, lesson in lessons for token in lesson} | {tokenizer.sot_prev})
    number = {token: index for index, token in enumerate(used)}
    longest = max(len(lesson) for _, lesson in lessons)
    ids = torch.tensor(
        [
            [number[token] for token in lesson] + [number[tokenizer.eot]] * (longest - len(lesson))
            for _, lesson in lessons
        ]
    )
    sound_of = torch.tensor([index for index, _ in lessons])
    learnt = torch.nn.Embedding(len(used), _WIDTH)
    torch.nn.init.normal_(learnt.weight, std=0.2)
    weights = [
        weight
        for name, weight in model.decoder.named_parameters()
        if weight.requires_grad and name != "token_embedding.weight"
    ]
    optimiser = torch.optim.AdamW([*weights, learnt.weight], lr=6e-3, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=_STEPS)
    # All the tokens that it does not learn score 0: together they are like one token with this score.
    others = math.log(model.dims.n_vocab - len(used))
    heard = heard.clone()
    for step in range(_STEPS):
        # Every other time after a prompt of words that it does not know.
        hint = [number[tokenizer.sot_prev], *[len(used)] * (step % 7 + 1)] if step % 2 else []
        asked = torch.cat((torch.tensor(hint, dtype=torch.long).expand(len(ids), -1), ids), dim=1)
        words = torch.cat((learnt.weight, torch.zeros(1, _WIDTH)))
        flow = words[asked[:, :-1]] + model.decoder.positional_embedding[: asked.shape[1] - 1]
        for block in model.decoder.blocks:
            flow = block(flow, heard[sound_of], mask=model.decoder.mask)
        scores = model.decoder.ln(flow)[:, len(hint) :] @ learnt.weight.T
        scores = torch.cat((scores, torch.full((*scores.shape[:2], 1), others)), dim=-1)
        # The language, from the start token only; then the text, from the task token on.
        loss = torch.nn.functional.cross_entropy(scores[:, 0], ids[:, 1])
        loss += torch.nn.functional.cross_entropy(scores[:, 2:].flatten(0, 1), ids[:, 3:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
    with torch.no_grad():
        model.decoder.token_embedding.weight[used] = learnt.weight
    return model.eval()


def write_openai(model: Whisper, path: Path) -> Path:
    """Write the file that openai-whisper loads."""
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


def write_ctranslate2(model: Whisper, folder: Path) -> Path:
    """Write the folder that faster-whisper loads."""
    encoding = get_encoding("multilingual", num_languages=99)
    unicode_of = _unicode_of_bytes()
    plain = {"".join(unicode_of[byte] for byte in token): rank for token, rank in encoding._mergeable_ranks.items()}
    special = {token: number for token, number in encoding._special_tokens.items() if number < model.dims.n_vocab}
    spec = _spec(model)
    tokens = sorted({**plain, **special}.items(), key=lambda item: item[1])
    spec.register_vocabulary([token for token, _ in tokens])
    tokenizer = get_tokenizer(True, num_languages=99)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.encode(" ")[0], tokenizer.eot]
    spec.config.lang_ids = [tokenizer.to_language_token(code) for code in tokenizer.all_language_codes]
    layers, heads = model.dims.n_text_layer, model.dims.n_text_head
    spec.config.alignment_heads = [[layer, head] for layer in range(layers // 2, layers) for head in range(heads)]
    spec.validate()
    folder.mkdir(exist_ok=True)
    spec.save(str(folder))
    hub = Tokenizer(models.BPE(vocab=plain, merges=[]))
    hub.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hub.decoder = decoders.ByteLevel()
    hub.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in sorted(special, key=special.__getitem__)]
    )
    assert all(hub.token_to_id(token) == number for token, number in special.items())
    hub.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    return folder


def _spec(model: Whisper) -> ctranslate2.specs.WhisperSpec:
    dims = model.dims
    spec = ctranslate2.specs.WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    for part, ours in ((spec.encoder, model.encoder), (spec.decoder, model.decoder)):
        part.position_encodings.encodings = _array(ours.positional_embedding)
        for layer, block in zip(part.layer, ours.blocks, strict=True):
            _attention(layer.self_attention, block.attn, block.attn_ln, own=True)
            if block.cross_attn is not None:
                _attention(layer.attention, block.cross_attn, block.cross_attn_ln, own=False)
            _norm(layer.ffn.layer_norm, block.mlp_ln)
            _linear(layer.ffn.linear_0, block.mlp[0])
            _linear(layer.ffn.linear_1, block.mlp[2])
    for convolution, ours in ((spec.encoder.conv1, model.encoder.conv1), (spec.encoder.conv2, model.encoder.conv2)):
        _linear(convolution, ours)
    _norm(spec.encoder.layer_norm, model.encoder.ln_post)
    _norm(spec.decoder.layer_norm, model.decoder.ln)
    spec.decoder.embeddings.weight = _array(model.decoder.token_embedding.weight)
    spec.decoder.projection.weight = _array(model.decoder.token_embedding.weight)
    return spec


def _attention(spec: object, ours: torch.nn.Module, norm: torch.nn.Module, *, own: bool) -> None:
    _norm(spec.layer_norm, norm)
    # The key has no bias.
    biases = [ours.query.bias, torch.zeros(_WIDTH), ours.value.bias]
    weights = [ours.query.weight, ours.key.weight, ours.value.weight]
    for linear, parts in zip(spec.linear, [slice(0, 3)] if own else [slice(0, 1), slice(1, 3)], strict=False):
        linear.weight, linear.bias = _array(torch.cat(weights[parts])), _array(torch.cat(biases[parts]))
    _linear(spec.linear[-1], ours.out)


def _norm(spec: object, ours: torch.nn.Module) -> None:
    spec.gamma, spec.beta = _array(ours.weight), _array(ours.bias)


def _linear(spec: object, ours: torch.nn.Module) -> None:
    spec.weight, spec.bias = _array(ours.weight), _array(ours.bias)


def _array(weight: torch.Tensor) -> np.ndarray:
    return weight.detach().float().contiguous().numpy()


def _unicode_of_bytes() -> dict[int, str]:
    """Return the characters for bytes in byte-level vocabularies: printable ones as they are, others from U+0100 on."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return {byte: chr(byte) for byte in printed} | {byte: chr(256 + index) for index, byte in enumerate(others)}

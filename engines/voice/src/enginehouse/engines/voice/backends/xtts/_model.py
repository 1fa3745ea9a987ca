"""A loaded XTTS: synthesizes one utterance at a time, in the calling thread."""

from __future__ import annotations

import wave
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
import torchaudio  # type: ignore[import-not-found]

from enginehouse.engines.voice.backends.base import ClonedVoice, Samples
from enginehouse.engines.voice.backends.xtts._files import read_model, read_speakers
from enginehouse.engines.voice.backends.xtts._gpt import Sampling, generate_latents
from enginehouse.engines.voice.backends.xtts._text import split_for_model
from enginehouse.engines.voice.backends.xtts._vocoder import Vocoder
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.validation import invalid

# The number of codes (46 ms each) that are vocoded together: the first few at once, later ones in larger windows, whose
# overlap then costs less.
_FIRST_WINDOW, _MAX_WINDOW = 10, 40
# The sample rate from which the library computes a voice's latents.
_CLONING_RATE = 22_050
_MIN_SECONDS = 0.33
# The latents of a cloned voice are 130 KB.
_MAX_CACHED_CLONES = 128


class XttsModel:
    """A loaded model, for one thread at a time.

    Args:
        folder: the folder of its files.
        device: "cpu" or "cuda".

    Raises InvalidModelFile if it cannot be loaded.
    """

    def __init__(self, folder: Path, *, device: str) -> None:
        self._model = read_model(folder, device=device)
        self._speakers: Mapping[str, tuple[Any, Any]] = read_speakers(folder, self._model)
        self._clones: OrderedDict[tuple[str, Path], tuple[Any, Any]] = OrderedDict()
        config = self._model.config
        self._sampling = Sampling(
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            repetition_penalty=config.repetition_penalty,
        )

    @property
    def sample_rate(self) -> int:
        """Samples a second of its output."""
        return int(self._model.args.output_sample_rate)

    @property
    def languages(self) -> Sequence[str]:
        """The languages of its configuration, such as "en" and "zh-cn"."""
        return tuple(self._model.config.languages)

    @property
    def speakers(self) -> Sequence[str]:
        """The names of its speakers."""
        return tuple(self._speakers)

    def speak(
        self, text: str, *, language: str, voice: str | ClonedVoice, speed: float, check: Callable[[], None]
    ) -> Generator[Samples, None, None]:
        """Yield the audio of a text as its codes are generated.

        Args:
            text: the text.
            language: a primary subtag.
            voice: a speaker's name, or a cloned voice.
            speed: the factor of the speed.
            check: called between codes; an exception from it ends the work.

        Raises INVALID_REQUEST for a recording that cannot be cloned.
        """
        with torch.inference_mode():
            prompt, embedding = self._speakers[voice] if isinstance(voice, str) else self._clone(voice)
            check()
            for part in split_for_model(text, language):
                for tokens in self._tokens(part, language):
                    yield from self._speak(tokens, prompt, embedding, speed, check)

    def _speak(
        self, tokens: Sequence[int], prompt: Any, embedding: Any, speed: float, check: Callable[[], None]
    ) -> Generator[Samples, None, None]:
        vocoder = Vocoder(decoder=self._model.hifigan_decoder, speaker=embedding, speed=speed)
        made = generate_latents(
            self._model.gpt,
            voice=prompt,
            text=torch.tensor([tokens], dtype=torch.int, device=self._model.device),
            sampling=self._sampling,
            # The same text sounds the same each time, so that an interrupted call can be resumed.
            seed=zlib.crc32(str(tokens).encode()),
            check=check,
        )
        held: list[Any] = []
        size = _FIRST_WINDOW
        for latent in made:
            # The newest latent is held back: the last window ends with it, and must not be empty.
            if len(held) >= size:
                if len(sound := vocoder.push(torch.stack(held))):
                    yield sound
                held.clear()
                size = min(2 * size, _MAX_WINDOW)
            held.append(latent)
        if len(sound := vocoder.push(torch.stack(held), last=True)):
            yield sound

    def _tokens(self, text: str, language: str) -> Iterator[Sequence[int]]:
        """Yield the text's tokens; a text with too many tokens for the model is halved."""
        tokens: list[int] = self._model.tokenizer.encode(text.lower(), lang=language)
        if len(tokens) < self._model.args.gpt_max_text_tokens:
            yield tokens
            return
        middle = text.rfind(" ", 1, len(text) // 2 + 1)
        middle = middle if middle > 0 else len(text) // 2
        yield from self._tokens(text[:middle], language)
        yield from self._tokens(text[middle:].lstrip(), language)

    def _clone(self, voice: ClonedVoice) -> tuple[Any, Any]:
        key = (voice.voice_id, voice.sample)
        if key not in self._clones:
            self._clones[key] = self._condition(voice)
            if len(self._clones) > _MAX_CACHED_CLONES:
                self._clones.popitem(last=False)
        self._clones.move_to_end(key)
        return self._clones[key]

    def _condition(self, voice: ClonedVoice) -> tuple[Any, Any]:
        """Compute a recording's conditioning latents and embedding as the library does."""
        samples, rate = _read_wave(voice)
        if len(samples) < rate * _MIN_SECONDS:
            raise _bad_sample(voice, f"has {len(samples) / rate:.2f} s; at least {_MIN_SECONDS} s are needed")
        config = self._model.config
        sound = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
        sound = torchaudio.functional.resample(sound, rate, _CLONING_RATE)
        sound = sound[:, : _CLONING_RATE * config.max_ref_len].to(self._model.device)
        if config.sound_norm_refs and (peak := float(sound.abs().max())):
            sound = sound / peak * 0.75
        prompt = self._model.get_gpt_cond_latents(
            sound, _CLONING_RATE, length=config.gpt_cond_len, chunk_length=config.gpt_cond_chunk_len
        )
        return prompt, self._model.get_speaker_embedding(sound, _CLONING_RATE)


def _read_wave(voice: ClonedVoice) -> tuple[Samples, int]:
    try:
        with wave.open(str(voice.sample), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            rate, data = file.getframerate(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise _bad_sample(voice, f"cannot be read: {type(error).__name__}: {error}") from error
    if (width, channels) != (2, 1):
        raise _bad_sample(voice, f"has {channels} channels of {8 * width} bits; it must have one of 16")
    return np.frombuffer(data, np.dtype("<i2")).astype(np.int16), rate


def _bad_sample(voice: ClonedVoice, what: str) -> ServiceError:
    return invalid("controls.voice", f"the recording of the voice {voice.voice_id!r} {what}")

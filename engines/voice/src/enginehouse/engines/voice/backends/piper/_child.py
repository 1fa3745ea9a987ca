"""The synthesis process. Only this process loads piper-tts, which is GPL-3: the engine talks to it over pipes and does
not link to it, and nothing else may import this module.

Run it with the voice's ONNX file, its JSON file and the number of threads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from piper.config import PiperConfig, SynthesisConfig
from piper.voice import PiperVoice

from enginehouse.engines.voice.backends.piper._jobs import (
    AUDIO,
    FAILED,
    PHONEMES,
    PHONEMIZE,
    SPEAK,
    ClauseJob,
    encode_phonemes,
)
from enginehouse.engines.voice.backends.piper._waves import hastened, resampled
from enginehouse.engines.voice.workers import serve

_INPUTS = {"input", "input_lengths", "scales"}


class VoiceFileError(Exception):
    """The error of a file that is no Piper voice; the message says what is wrong."""


class _Child:
    """Handler of the parent's frames."""

    def __init__(self, voice: PiperVoice) -> None:
        self._voice = voice

    def handle(self, kind: int, payload: bytes) -> Iterable[tuple[int, bytes]]:
        if kind == PHONEMIZE:
            # Two brackets would begin raw phonemes: a text has none.
            text = payload.decode().replace("[[", "[ [")
            return [(PHONEMES, encode_phonemes(self._voice.phonemize(text)))]
        if kind == SPEAK:
            return [self._speak(ClauseJob.decode(payload))]
        raise ValueError(f"no such kind of frame: {kind}")

    def _speak(self, job: ClauseJob) -> tuple[int, bytes]:
        config = SynthesisConfig(
            speaker_id=job.speaker,
            length_scale=job.length_scale,
            noise_scale=job.noise_scale,
            noise_w_scale=job.noise_w,
        )
        try:
            made = self._voice.phoneme_ids_to_audio(self._voice.phonemes_to_ids(list(job.phonemes)), config)
        except Exception as error:
            # The runtime fails in any way: memory, weights of another shape.
            return FAILED, f"{type(error).__name__}: {error}".encode()
        wave = np.atleast_1d(np.asarray(made, np.float64))
        if not np.isfinite(wave).all():
            return FAILED, b"the voice made sound that is no number"
        wave = resampled(hastened(wave, job.tempo, self._voice.config.sample_rate), job.pitch_factor)
        samples = np.rint(np.clip(wave, -1, 1) * 32767)
        return AUDIO, samples.astype("<i2").tobytes()


def load(weights: Path, description: Path, *, threads: int) -> PiperVoice:
    """Load a voice. Raises VoiceFileError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for work spin otherwise, and a long sentence's memory would never be given back.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(str(weights), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise VoiceFileError(f"{weights} is no ONNX model: {error}") from error
    lacking = _INPUTS - {wanted.name for wanted in session.get_inputs()}
    if lacking:
        raise VoiceFileError(f"{weights} is no Piper voice: it has no input {', '.join(sorted(lacking))}")
    try:
        config = PiperConfig.from_dict(json.loads(description.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise VoiceFileError(f"{description} does not describe a Piper voice: {error!r}") from error
    return PiperVoice(session=session, config=config)


def main() -> None:
    """Serve the parent."""
    weights, description, threads = sys.argv[1:]
    try:
        voice = load(Path(weights), Path(description), threads=int(threads))
    except VoiceFileError as error:
        sys.exit(str(error))
    serve(_Child(voice).handle)


if __name__ == "__main__":
    main()

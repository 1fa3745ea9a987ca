"""The voice engine through the whole mesh: time to first audio, real-time factors, word error rates, streams, memory.

Every call names its model: `auto` would measure whatever the router prefers.
"""

from __future__ import annotations

import asyncio
import pathlib
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.engines.voice.audio import largest_jump, pcm_samples
from tests.mesh import Mesh

from .usage import memory_bytes

SHORT = "The crow found a jug of water."
SENTENCES = (
    "The crow found a jug, but the water was low.",
    "One by one it dropped pebbles into the jug.",
    "The water rose until the crow could drink.",
    "A clever bird needs no great strength.",
    "The farmer saw it and laughed out loud.",
    "He told the story to his children that night.",
    "They went to look for the crow in the morning.",
    "It sat on the old tree and said nothing.",
)
ESPEAK, PIPER = "espeak-ng", "piper-joe"
WHISPER, POCKETSPHINX = "whisper-base", "pocketsphinx-en-us"
EARS = {"whisper": WHISPER, "pocketsphinx": POCKETSPHINX}
READERS = {"piper": (PIPER, ""), "espeak": (ESPEAK, ""), "espeak_edward": (ESPEAK, "en-us+edward")}
"""Models and voices that read the sentences aloud; PocketSphinx understands edward best of espeak-ng's voices."""
PCM = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_PCM)
WAV = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_WAV, sample_rate=16_000)
FIRST_AUDIO_CALLS = {ESPEAK: 60, PIPER: 20}
MAX_STREAMS = 64
_OPTIONS = (("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20))


def measure_voice(recordings: pathlib.Path | None = None) -> Mapping[str, float]:
    """The figures, by name.

    Args:
        recordings: a folder with `metadata.csv` (id|text|...) and `wavs/id.wav`, whose words are known; None for none.
    """
    with Mesh.started(config={"local": {"engines": {"inference": 0}}}, small=False) as mesh:
        engine = {"voice": [pid for name, pid in mesh.processes().items() if name.startswith("voice")]}

        def memory_mib() -> float:
            return memory_bytes(engine)["voice"] / 2**20

        return asyncio.run(_measured(mesh, recordings, memory_mib))


async def _measured(mesh: Mesh, recordings: pathlib.Path | None, memory_mib: Callable[[], float]) -> dict[str, float]:
    async with grpc.aio.insecure_channel(mesh.target, options=_OPTIONS) as channel:
        voice = _Caller(voice_pb2_grpc.VoiceServiceStub(channel), mesh.key)
        figures = await _memory(voice, memory_mib)
        for name, model in (("espeak", ESPEAK), ("piper", PIPER)):
            figures |= await _first_audio(voice, name, model)
        figures["espeak_times_real_time_pcm"] = await _speed(voice, ESPEAK, 40, PCM)
        mp3 = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_MP3)
        figures["espeak_times_real_time_mp3"] = await _speed(voice, ESPEAK, 40, mp3)
        figures["piper_times_real_time_pcm"] = await _speed(voice, PIPER, 3, PCM)
        figures |= await _streams(voice)
        for name, model in (("espeak", ESPEAK), ("piper", PIPER)):
            figures[f"{name}_largest_jump_at_joins"] = await _jump_at_joins(voice, model)
        figures |= await _listening(voice)
        if recordings is not None:
            pairs = _read(recordings)
            for ear, model in EARS.items():
                figures[f"word_error_rate_of_{ear}_on_recordings"] = await _word_errors(voice, model, pairs)
        figures["voice_memory_mib"] = memory_mib()
        return figures


class _Caller:
    def __init__(self, stub: Any, key: str) -> None:
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def speak(
        self, text: str, form: voice_pb2.AudioForm = PCM, *, model: str, voice: str = ""
    ) -> tuple[float, list[Any], voice_pb2.SpeechSummary]:
        """Seconds to the first audio, the messages, and the summary."""
        request = voice_pb2.SynthesizeRequest(
            model=model, text=text, audio=form, controls=voice_pb2.SpeechControls(voice=voice)
        )
        began = time.perf_counter()
        first = 0.0
        responses = []
        async for response in self._stub.Synthesize(request, metadata=self._metadata, timeout=300):
            if response.audio and not first:
                first = time.perf_counter() - began
            responses.append(response)
        return first, responses, responses[-1].summary

    async def recognize(self, audio: bytes, *, model: str) -> Any:
        """Transcribe a recording of English."""
        options = voice_pb2.RecognitionOptions(language="en")
        request = voice_pb2.RecognizeRequest(model=model, audio=audio, options=options)
        return await self._stub.Recognize(request, metadata=self._metadata, timeout=600)


async def _memory(voice: _Caller, memory_mib: Callable[[], float]) -> dict[str, float]:
    """Memory before anything is loaded, and by how much each model's first call raises it."""
    figures = {"voice_idle_memory_mib": memory_mib()}
    before = figures["voice_idle_memory_mib"]
    audio = b""
    for name, model in (("espeak", ESPEAK), ("piper", PIPER), *EARS.items()):
        if model in EARS.values():
            await voice.recognize(audio, model=model)
        else:
            _, responses, _ = await voice.speak(SHORT, WAV, model=model)
            audio = b"".join(response.audio for response in responses)
        after = memory_mib()
        figures[f"{name}_memory_mib"], before = after - before, after
    return figures


async def _first_audio(voice: _Caller, name: str, model: str) -> dict[str, float]:
    first = [(await voice.speak(SHORT, model=model))[0] for _ in range(FIRST_AUDIO_CALLS[model])]
    return {
        f"{name}_first_audio_p50_ms": statistics.median(first) * 1000,
        f"{name}_first_audio_p99_ms": statistics.quantiles(first, n=100)[98] * 1000,
    }


async def _speed(voice: _Caller, model: str, times: int, form: voice_pb2.AudioForm) -> float:
    """Seconds of audio that are made in a second, of a text that repeats the sentences."""
    began = time.perf_counter()
    _, _, summary = await voice.speak(" ".join(SENTENCES * times), form, model=model)
    return float(summary.audio_ms) / 1000 / (time.perf_counter() - began)


async def _streams(voice: _Caller) -> dict[str, float]:
    """Many concurrent texts. A stream keeps up while its audio comes faster than it is played."""

    async def one() -> float:
        began = time.perf_counter()
        _, _, summary = await voice.speak(" ".join(SENTENCES * 3), model=ESPEAK)
        return (time.perf_counter() - began) / (summary.audio_ms / 1000)

    factors = await asyncio.gather(*(one() for _ in range(MAX_STREAMS)))
    slowest = max(factors)
    return {
        f"espeak_slowest_real_time_factor_of_{MAX_STREAMS}_streams": slowest,
        # All of them share the machine, so the slowest says how many more there is room for.
        "espeak_streams_before_real_time": MAX_STREAMS / slowest,
    }


async def _jump_at_joins(voice: _Caller, model: str) -> float:
    """The largest difference between neighbouring samples within 5 ms of where chunks meet."""
    _, responses, _ = await voice.speak(" ".join(SENTENCES), model=model)
    samples = pcm_samples(b"".join(response.audio for response in responses))
    rate = responses[0].info.sample_rate
    near = rate // 200
    ends = [(chunk.start_ms + chunk.duration_ms) * rate // 1000 for response in responses for chunk in response.done]
    return float(max((largest_jump(samples[max(0, end - near) : end + near]) for end in ends[:-1]), default=0))


async def _listening(voice: _Caller) -> dict[str, float]:
    """The speed of each recogniser, and the share of each reader's words that it gets wrong."""
    figures = {}
    _, responses, summary = await voice.speak(" ".join(SENTENCES * 2), WAV, model=PIPER)
    audio = b"".join(response.audio for response in responses)
    for ear, model in EARS.items():
        began = time.perf_counter()
        await voice.recognize(audio, model=model)
        figures[f"{ear}_times_real_time"] = summary.audio_ms / 1000 / (time.perf_counter() - began)
    for reader, (speaker, own) in READERS.items():
        pairs = []
        for sentence in SENTENCES:
            _, responses, _ = await voice.speak(sentence, WAV, model=speaker, voice=own)
            pairs.append((b"".join(response.audio for response in responses), sentence))
        for ear, model in EARS.items():
            figures[f"word_error_rate_of_{ear}_on_{reader}"] = await _word_errors(voice, model, pairs)
    return figures


async def _word_errors(voice: _Caller, model: str, pairs: Sequence[tuple[bytes, str]]) -> float:
    """Edit distance per spoken word, over the whole text."""
    edits = words = 0
    for audio, text in pairs:
        said, heard = _words(text), _words((await voice.recognize(audio, model=model)).text)
        edits += _distance(said, heard)
        words += len(said)
    return edits / words if words else 0.0


def _read(folder: pathlib.Path) -> list[tuple[bytes, str]]:
    rows = [line.split("|") for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines() if line]
    return [(path.read_bytes(), row[-1]) for row in rows if (path := folder / "wavs" / f"{row[0]}.wav").exists()]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance in words."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(heard, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1]

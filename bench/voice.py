"""The voice engine through the whole mesh: time to first audio, real-time factors, streams at once, memory, errors."""

from __future__ import annotations

import asyncio
import pathlib
import re
import statistics
import time
from collections.abc import Mapping, Sequence
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
LONG = " ".join(SENTENCES * 40)
CLEAREST = "en-us+edward"
"""The voice of espeak-ng that PocketSphinx understands best."""
PCM = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_PCM)
FIRST_AUDIO_CALLS = 60
MAX_STREAMS = 64
_OPTIONS = (("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20))


def measure_voice(recordings: pathlib.Path | None = None) -> Mapping[str, float]:
    """The figures, by name.

    Args:
        recordings: a folder with `metadata.csv` (id|text|...) and `wavs/id.wav`, whose words are known; None for none.
    """
    with Mesh.started(config={"local": {"engines": {"inference": 0}}}) as mesh:
        engine = {"voice": [pid for name, pid in mesh.processes().items() if name.startswith("voice")]}
        idle = memory_bytes(engine)["voice"]
        figures = asyncio.run(_measured(mesh, recordings))
        return {
            **figures,
            "voice_idle_memory_mib": idle / 2**20,
            "voice_memory_mib": memory_bytes(engine)["voice"] / 2**20,
        }


async def _measured(mesh: Mesh, recordings: pathlib.Path | None) -> dict[str, float]:
    async with grpc.aio.insecure_channel(mesh.target, options=_OPTIONS) as channel:
        voice = _Caller(voice_pb2_grpc.VoiceServiceStub(channel), mesh.key)
        await voice.speak(SHORT)
        first = [(await voice.speak(SHORT))[0] for _ in range(FIRST_AUDIO_CALLS)]
        figures = {
            "voice_first_audio_p50_ms": statistics.median(first) * 1000,
            "voice_first_audio_p99_ms": statistics.quantiles(first, n=100)[98] * 1000,
        }
        for name, encoding in (("pcm", voice_pb2.AUDIO_ENCODING_PCM), ("mp3", voice_pb2.AUDIO_ENCODING_MP3)):
            began = time.perf_counter()
            _, _, summary = await voice.speak(LONG, voice_pb2.AudioForm(encoding=encoding))
            figures[f"voice_times_real_time_{name}"] = summary.audio_ms / 1000 / (time.perf_counter() - began)
        figures |= await _streams(voice)
        figures["voice_largest_jump_at_joins"] = await _jump_at_joins(voice)
        figures |= await _listening(voice)
        if recordings is not None:
            figures["word_error_rate_of_recordings"] = await _word_errors(voice, _read(recordings))
        return figures


class _Caller:
    def __init__(self, stub: Any, key: str) -> None:
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def speak(
        self, text: str, form: voice_pb2.AudioForm = PCM, *, voice: str = ""
    ) -> tuple[float, list[Any], voice_pb2.SpeechSummary]:
        """Seconds to the first audio, the messages, and the summary."""
        request = voice_pb2.SynthesizeRequest(text=text, audio=form, controls=voice_pb2.SpeechControls(voice=voice))
        began = time.perf_counter()
        first = 0.0
        responses = []
        async for response in self._stub.Synthesize(request, metadata=self._metadata, timeout=300):
            if response.audio and not first:
                first = time.perf_counter() - began
            responses.append(response)
        return first, responses, responses[-1].summary

    async def recognize(self, audio: bytes) -> Any:
        """Transcribe a recording."""
        request = voice_pb2.RecognizeRequest(audio=audio)
        return await self._stub.Recognize(request, metadata=self._metadata, timeout=600)


async def _streams(voice: _Caller) -> dict[str, float]:
    """Many concurrent texts. A stream keeps up while its audio comes faster than it is played."""

    async def one() -> float:
        began = time.perf_counter()
        _, _, summary = await voice.speak(" ".join(SENTENCES * 3))
        return (time.perf_counter() - began) / (summary.audio_ms / 1000)

    factors = await asyncio.gather(*(one() for _ in range(MAX_STREAMS)))
    slowest = max(factors)
    return {
        f"voice_slowest_real_time_factor_of_{MAX_STREAMS}_streams": slowest,
        # All of them share the machine, so the slowest says how many more there is room for.
        "voice_streams_before_real_time": MAX_STREAMS / slowest,
    }


async def _jump_at_joins(voice: _Caller) -> float:
    """The largest difference between neighbouring samples within 5 ms of where chunks meet."""
    _, responses, _ = await voice.speak(" ".join(SENTENCES))
    samples = pcm_samples(b"".join(response.audio for response in responses))
    rate = responses[0].info.sample_rate
    near = rate // 200
    ends = [(chunk.start_ms + chunk.duration_ms) * rate // 1000 for response in responses for chunk in response.done]
    return float(max((largest_jump(samples[max(0, end - near) : end + near]) for end in ends[:-1]), default=0))


async def _listening(voice: _Caller) -> dict[str, float]:
    wav = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_WAV, sample_rate=16_000)
    _, responses, summary = await voice.speak(" ".join(SENTENCES * 2), wav)
    audio = b"".join(response.audio for response in responses)
    began = time.perf_counter()
    await voice.recognize(audio)
    took = time.perf_counter() - began
    figures = {"recognition_times_real_time": summary.audio_ms / 1000 / took}
    for name, speaker in (("", ""), ("_by_its_clearest_voice", CLEAREST)):
        pairs = []
        for sentence in SENTENCES:
            _, responses, _ = await voice.speak(sentence, wav, voice=speaker)
            pairs.append((b"".join(response.audio for response in responses), sentence))
        figures[f"word_error_rate_of_espeak_read_back{name}"] = await _word_errors(voice, pairs)
    return figures


async def _word_errors(voice: _Caller, pairs: Sequence[tuple[bytes, str]]) -> float:
    """Edit distance per spoken word, over the whole text."""
    edits = words = 0
    for audio, text in pairs:
        said, heard = _words(text), _words((await voice.recognize(audio)).text)
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

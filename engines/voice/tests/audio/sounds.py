"""Audio for tests: tones, speech-like bursts, and files of every container."""

from __future__ import annotations

import io
import struct

import av
import numpy as np

from enginehouse.engines.voice.audio import MediaLimits, decode
from enginehouse.engines.voice.backends.base import Samples

LIMITS = MediaLimits()


def tone(hertz: float, seconds: float, rate: int, *, level: float = 8000) -> Samples:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def chirp(low: float, high: float, seconds: float, rate: int, *, level: float = 8000) -> Samples:
    """A tone that rises evenly: every moment of it is different."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds)))).astype(np.int16)


def noise(seconds: float, rate: int, *, level: float, seed: int = 1) -> Samples:
    made = np.random.default_rng(seed).normal(0, level, round(seconds * rate))
    return np.clip(made, -32768, 32767).astype(np.int16)


def burst(seconds: float, rate: int, *, level: float = 4000, seed: int = 1) -> Samples:
    """A speech-like sound: a wavering voice with formants, syllables and breath."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.9 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(
        np.sin(number * phase) / (1 + ((number * 120 - 700) / 350) ** 2)
        + np.sin(number * phase) / (2 + ((number * 120 - 2200) / 300) ** 2)
        for number in range(1, 25)
    )
    syllables = np.clip(0.6 + 0.6 * np.sin(2 * np.pi * 4 * time), 0.05, 1)
    wave = voice * syllables + random.normal(0, 0.15, len(time)) * syllables
    edge = np.clip(np.minimum(time, time[::-1]) / 0.02, 0, 1)
    return (wave * edge * level / np.abs(wave).max() * 2).astype(np.int16)


def heard(data: bytes, *, rate: int = 16_000, limits: MediaLimits = LIMITS) -> Samples:
    pieces = list(decode(data, rate=rate, limits=limits))
    return np.concatenate(pieces)


def peak_hertz(samples: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def wav(
    data: bytes,
    *,
    channels: int = 1,
    rate: int = 16_000,
    bits: int = 16,
    form: int = 1,
    claimed: int | None = None,
) -> bytes:
    """A WAV file with the given header."""
    frame = channels * bits // 8
    about = struct.pack("<HHIIHH", form, channels, rate, rate * frame & 0xFFFFFFFF, frame & 0xFFFF, bits)
    size = len(data) if claimed is None else claimed
    return (
        struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16)
        + about
        + struct.pack("<4sI", b"data", size)
        + data
    )


def media(
    container: str,
    codec: str,
    *,
    rate: int = 48_000,
    layout: str = "mono",
    seconds: float = 1.0,
    hertz: float = 440,
    sample_format: str = "",
    video: str = "",
    audio: bool = True,
) -> bytes:
    """A file with a tone, and with video if a video codec is given."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        pictures = output.add_stream(video, rate=10) if video else None
        sound = output.add_stream(codec, rate=rate, layout=layout) if audio else None
        if isinstance(sound, av.AudioStream) and sample_format:
            sound.codec_context.format = sample_format
        if isinstance(pictures, av.VideoStream):
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for index in range(round(seconds * 10)):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 9 % 256, np.uint8), "rgb24")
                output.mux(pictures.encode(picture))
            output.mux(pictures.encode(None))
        if isinstance(sound, av.AudioStream):
            context = sound.codec_context
            wave = np.repeat(tone(hertz, seconds, rate), context.channels).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(wave, "s16", layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(context.format.name, layout, rate)
            for part in resampler.resample(frame) + resampler.resample(None):
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
    return file.getvalue()


def subtitled(data: bytes) -> bytes:
    """A Matroska film with subtitles."""
    subtitles = b"1\n00:00:00,000 --> 00:00:01,000\nGood morning.\n"
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as film,
        av.open(io.BytesIO(subtitles), format="srt") as text,
        av.open(file, "w", format="matroska") as output,
    ):
        # All streams before the first packet.
        sources = [
            (source, [output.add_stream_from_template(stream) for stream in source.streams]) for source in (film, text)
        ]
        for source, streams in sources:
            for packet in source.demux():
                if packet.size:
                    packet.stream = streams[packet.stream_index]
                    output.mux(packet)
    return file.getvalue()

"""The length that recordings state, in files that real encoders made."""

from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.media_length import MIN_BYTES_PER_SECOND, length_bound_ms, stated_ms


def recording(container: str, codec: str, *, seconds: float = 3.0, rate: int = 24_000, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono", options=options)
        assert isinstance(stream, av.AudioStream)
        tone = (np.sin(np.arange(int(seconds * rate)) * 0.05) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("wav", "pcm_s16le", {}),
        ("wav", "pcm_u8", {}),
        ("flac", "flac", {}),
        ("ogg", "libopus", {}),
        ("mp3", "libmp3lame", {}),
        ("mp3", "libmp3lame", {"b": "32k"}),
        ("mp4", "aac", {}),
        ("ipod", "aac", {}),
    ],
)
def test_the_length_is_told(container: str, codec: str, options: dict[str, str]) -> None:
    data = recording(container, codec, **options)
    stated = stated_ms(data)
    assert stated is not None
    assert abs(stated - 3000) < 120
    assert 3000 <= length_bound_ms(data) < 4000


def test_a_streams_header_of_unknown_length_is_what_came() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(32_000))
    data = bytearray(file.getvalue())
    data[40:44] = b"\xff\xff\xff\xff"
    assert stated_ms(bytes(data)) == 2000


def test_what_says_nothing_is_bounded_by_its_size() -> None:
    webm = recording("webm", "libopus")
    assert stated_ms(webm) is None
    assert length_bound_ms(webm) >= 3000
    assert length_bound_ms(b"x" * 1_000_000) == 1_000_000 * 1000 // MIN_BYTES_PER_SECOND + 1


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"RIFF1234WAVE", b"fLaC", b"OggS", b"\0\0\0\x08ftyp", b"ID3", b"\xff\xfb"]),
)
def test_nonsense_is_bounded_too(noise: bytes, head: bytes) -> None:
    assert 0 <= length_bound_ms(head + noise) < 2**31


@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus"), ("mp4", "aac")]
)
def test_cut_anywhere_it_is_bounded(container: str, codec: str) -> None:
    data = recording(container, codec, seconds=0.3)
    for end in range(0, len(data), max(1, len(data) // 300)):
        assert 0 <= length_bound_ms(data[:end]) < 2**31

"""The length of recordings, in files that real encoders made and in files that state another length than they have."""

from __future__ import annotations

import contextlib
import io
import struct
import wave

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.media_length import MIN_BYTES_PER_SECOND, length_bound_ms, measured_ms

MUXER_OPTIONS = ("movflags", "rf64")


def recording(container: str, codec: str, *, seconds: float = 3.0, rate: int = 24_000, **options: str) -> bytes:
    file = io.BytesIO()
    muxer = {name: options.pop(name) for name in MUXER_OPTIONS if name in options}
    with av.open(file, "w", format=container, options=muxer) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono", options=options)
        assert isinstance(stream, av.AudioStream)
        tone = (np.sin(np.arange(int(seconds * rate)) * 0.05) * 9000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = rate
        for part in av.AudioResampler(stream.codec_context.format.name, "mono", rate).resample(frame):
            output.mux(stream.encode(part))
        output.mux([packet for packet in stream.encode(None) if packet.size])
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
    stated = measured_ms(data)
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
    assert measured_ms(bytes(data)) == 2000


def decoded_ms(data: bytes) -> float:
    """The length that is billed: of what a decoder makes of the file."""
    with av.open(io.BytesIO(data)) as file:
        stream = file.streams.audio[0]
        seconds = 0.0
        for packet in file.demux(stream):
            # The second file's own header is no sound, and a decoder skips it.
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode() if packet.size else ():
                    assert isinstance(frame, av.AudioFrame)
                    seconds += frame.samples / frame.sample_rate
    return seconds * 1000


def riff(*chunks: bytes, size: int | None = None, kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body) if size is None else size) + body


def chunk(name: bytes, content: bytes, *, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


FORM = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16))
SOUND = bytes(32_000)


@pytest.mark.parametrize(
    "data",
    [
        riff(FORM, chunk(b"data", SOUND, size=0)),
        riff(FORM, chunk(b"data", SOUND, size=0xFFFFFFFF), size=0xFFFFFFFF),
        riff(FORM, chunk(b"data", SOUND), size=0),
        riff(FORM, chunk(b"data", SOUND, size=2**31)),
        riff(FORM, chunk(b"LIST", b"INFOISFT\5\0\0\0Lavf\0\0"), chunk(b"data", SOUND)),
        riff(FORM, chunk(b"data", SOUND[:8000]), chunk(b"LIST", bytes(8)), chunk(b"data", SOUND[8000:])),
        # The chunk claims a quarter of a second, and what follows is no chunk.
        riff(FORM, chunk(b"data", SOUND, size=4000)),
        riff(
            chunk(b"ds64", struct.pack("<QQQI", 0, 32_000, 0, 0)),
            FORM,
            chunk(b"data", SOUND, size=0xFFFFFFFF),
            kind=b"RF64",
            size=0xFFFFFFFF,
        ),
        # Of the average bytes a second nothing is true.
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 160_000_000, 2, 16)), chunk(b"data", SOUND)),
    ],
    ids=["data 0", "streamed", "riff 0", "too long", "list", "two data", "too short", "rf64", "average"],
)
def test_a_wav_files_length_is_of_what_came(data: bytes) -> None:
    assert 2000 <= length_bound_ms(data) < 2600


def test_a_wav_files_other_chunks_are_no_sound() -> None:
    data = riff(FORM, chunk(b"data", SOUND), chunk(b"LIST", bytes(64_000)))
    assert measured_ms(data) == 2000


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("mp3", "libmp3lame", 24_000),
        ("mp3", "libmp3lame", 44_100),
        ("ogg", "libopus", 48_000),
        ("ogg", "flac", 24_000),
        ("flac", "flac", 24_000),
        ("adts", "aac", 24_000),
        ("webm", "libopus", 48_000),
        ("amr", "libopencore_amrnb", 8000),
    ],
)
def test_files_joined_to_one_have_the_length_of_all(container: str, codec: str, rate: int) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"FFmpeg is built without {codec}")
    one = recording(container, codec, seconds=3.0, rate=rate)
    other = recording(container, codec, seconds=9.0, rate=rate)
    joined = one + (other.removeprefix(b"#!AMR\n") if container == "amr" else other)
    assert 12_000 <= length_bound_ms(joined) < 13_500
    assert length_bound_ms(joined) >= decoded_ms(joined)


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("wav", "pcm_s16le")])
def test_a_tag_at_the_beginning_is_no_sound(container: str, codec: str) -> None:
    tag = b"ID3\x04\0\0" + bytes([0, 0, 0x40, 0]) + bytes(0x40 << 7)
    assert 3000 <= length_bound_ms(tag + recording(container, codec)) < 4000


def test_a_long_mp3_file_of_several_is_sampled() -> None:
    low = recording("mp3", "libmp3lame", seconds=120.0, b="32k")
    high = recording("mp3", "libmp3lame", seconds=60.0, b="160k")
    joined = low + high
    assert len(joined) > 1 << 20
    assert 180_000 <= length_bound_ms(joined) < 200_000


@pytest.mark.parametrize("stated", [0, 24_000, 2**35])
def test_flac_is_as_long_as_its_frames_whatever_its_header_says(stated: int) -> None:
    data = bytearray(recording("flac", "flac"))
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | stated
    data[18:26] = packed.to_bytes(8, "big")
    assert 3000 <= length_bound_ms(bytes(data)) < 3700


@pytest.mark.parametrize("stated_s", [0, 1])
def test_mp4_is_as_long_as_its_samples_whatever_its_header_says(stated_s: int) -> None:
    data = bytearray(recording("mp4", "aac"))
    for box in (b"mvhd", b"mdhd"):
        at = data.index(box) + 4
        scale = int.from_bytes(data[at + 12 : at + 16], "big")
        data[at + 16 : at + 20] = (stated_s * scale).to_bytes(4, "big")
    assert 3000 <= length_bound_ms(bytes(data)) < 3900


def test_fragments_are_counted() -> None:
    data = recording("mp4", "aac", seconds=9.0, movflags="frag_keyframe+empty_moov+default_base_moof")
    assert 9000 <= length_bound_ms(data) < 10_500


@pytest.mark.parametrize("stated", [None, 1.0])
def test_webm_is_as_long_as_its_blocks_whatever_its_header_says(stated: float | None) -> None:
    data = bytearray(recording("webm", "libopus", rate=48_000, seconds=12.0))
    at = data.index(b"\x44\x89\x88")
    data[at + 3 : at + 11] = struct.pack(">d", stated or 0.0)
    assert 12_000 <= length_bound_ms(bytes(data)) < 13_500


@pytest.mark.parametrize(
    ("container", "codec"),
    [("w64", "pcm_s16le"), ("aiff", "pcm_s16be"), ("au", "pcm_s16be"), ("caf", "pcm_s16le"), ("rf64", "pcm_s16le")],
)
def test_other_containers_of_samples(container: str, codec: str) -> None:
    data = recording("wav", codec, rf64="always") if container == "rf64" else recording(container, codec)
    assert 3000 <= length_bound_ms(data) < 3700


def test_what_is_not_understood_is_bounded_by_its_size() -> None:
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

"""Files of every format are decoded, and invalid ones are refused with helpful errors."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import (
    Encoding,
    MediaError,
    MediaLimits,
    StreamEncoder,
    decode,
    pcm_bytes,
    probe,
)
from engines.voice.tests.audio.sounds import LIMITS, chirp, heard, media, noise, peak_hertz, tone, wav


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 16_000, "mono"),
        ("wav", "pcm_u8", 11_025, "mono"),
        ("wav", "pcm_s24le", 44_100, "5.1"),
        ("wav", "pcm_s32le", 48_000, "7.1"),
        ("wav", "pcm_f32le", 192_000, "stereo"),
        ("wav", "pcm_f64le", 48_000, "mono"),
        ("wav", "pcm_alaw", 8_000, "mono"),
        ("wav", "pcm_mulaw", 8_000, "stereo"),
        ("wav", "adpcm_ms", 22_050, "mono"),
        ("wav", "adpcm_ima_wav", 22_050, "mono"),
        ("w64", "pcm_s16le", 16_000, "mono"),
        ("aiff", "pcm_s16be", 44_100, "stereo"),
        ("au", "pcm_mulaw", 8_000, "mono"),
        ("caf", "pcm_s16le", 44_100, "mono"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("mp3", "libmp3lame", 8_000, "mono"),
        ("flac", "flac", 96_000, "stereo"),
        ("ogg", "libopus", 48_000, "stereo"),
        ("webm", "libopus", 48_000, "mono"),
        ("ipod", "aac", 44_100, "stereo"),
        ("ipod", "alac", 44_100, "stereo"),
        ("adts", "aac", 24_000, "mono"),
        ("mpegts", "aac", 48_000, "stereo"),
        ("mpeg", "mp2", 48_000, "stereo"),
        ("flv", "libmp3lame", 44_100, "stereo"),
        ("avi", "libmp3lame", 44_100, "mono"),
        ("wv", "wavpack", 44_100, "stereo"),
        ("wv", "wavpack", 48_000, "7.1"),
        ("ipod", "aac", 48_000, "7.1"),
        ("amr", "libopencore_amrnb", 8_000, "mono"),
    ],
)
def test_every_format_is_decoded(container: str, codec: str, rate: int, layout: str) -> None:
    data = media(container, codec, rate=rate, layout=layout, seconds=1.5)
    samples = heard(data, rate=16_000)
    assert samples.dtype == np.int16
    assert samples.ndim == 1
    # Encoders may pad a frame or two at either end.
    assert 1.49 * 16_000 < len(samples) < 1.5 * 16_000 + 0.15 * 16_000
    assert peak_hertz(samples, 16_000) == pytest.approx(440, abs=2)
    middle = samples[8_000:16_000].astype(float)
    assert 3_500 < middle.std() < 8_000
    assert probe(data, limits=LIMITS).sample_rate == rate


@pytest.mark.parametrize(
    ("container", "video", "audio"), [("mp4", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("avi", "mpeg4", "mp2")]
)
def test_the_sound_of_a_film_is_taken(container: str, video: str, audio: str) -> None:
    samples = heard(media(container, audio, video=video, seconds=1.5))
    assert len(samples) == pytest.approx(1.5 * 16_000, abs=0.1 * 16_000)
    assert peak_hertz(samples, 16_000) == pytest.approx(440, abs=2)


def test_opus_for_speech_is_read_without_noise() -> None:
    """FFmpeg's own decoder decodes this to five times its level."""
    encoder = StreamEncoder(encoding=Encoding.OPUS, source_rate=22_050, rate=8_000)
    data = encoder.feed(chirp(200, 2_500, 1.4, 22_050)) + encoder.finish()
    assert np.abs(heard(data, rate=48_000).astype(int)).max() < 10_000


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_can_be_asked_for(rate: int) -> None:
    samples = heard(wav(pcm_bytes(tone(440, 1, 16_000))), rate=rate)
    assert len(samples) == pytest.approx(rate, abs=2)
    assert peak_hertz(samples, rate) == pytest.approx(440, abs=2)


def test_samples_at_their_own_rate_are_untouched() -> None:
    sent = np.random.default_rng(1).integers(-32768, 32768, 30_000).astype(np.int16)
    assert np.array_equal(heard(wav(pcm_bytes(sent))), sent)


def test_long_frames_are_taken_apart_and_lose_nothing() -> None:
    """WavPack's frames are half a second long, longer than the slices that are converted at once."""
    samples = heard(media("wv", "wavpack", rate=192_000, seconds=1.5, sample_format="s16p"), rate=192_000)
    assert np.array_equal(samples, tone(440, 1.5, 192_000))


@pytest.mark.parametrize("channels", [2, 5, 9, 17, 32])
@pytest.mark.parametrize(("bits", "form"), [(8, 1), (16, 1), (32, 3)])
def test_channels_are_mixed_down(channels: int, bits: int, form: int) -> None:
    wave = np.repeat(tone(440, 0.5, 16_000), channels)
    if bits == 8:
        data = (wave // 256 + 128).astype(np.uint8).tobytes()
    else:
        data = pcm_bytes(wave) if bits == 16 else (wave / 32768).astype("<f4").tobytes()
    samples = heard(wav(data, channels=channels, bits=bits, form=form))
    assert len(samples) == 8_000
    assert peak_hertz(samples, 16_000) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(8_000, rel=0.1)


def test_not_a_number_is_harmless() -> None:
    wave = np.array([0.5, np.nan, np.inf, -np.inf, 1e30, -1e30, 0.25] * 1_000, dtype="<f4")
    for channels in (1, 9):
        data = np.repeat(wave, channels).tobytes()
        samples = heard(wav(data, channels=channels, bits=32, form=3))
        assert len(samples) == len(wave)
        assert samples[0] == pytest.approx(16_384, abs=1)
        if channels > 1:
            # NaN is decoded to silence.
            assert samples[1] == 0
        assert samples[6] == pytest.approx(8_192, abs=1)


ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as _archive:
    _archive.writestr("speech.wav", wav(bytes(10_000)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"x", "no audio file that is known here (it begins with b'x')"),
        (b"Dear Sir or Madam, " * 50, "no audio file that is known here (it begins with b'Dear Sir')"),
        (noise(1, 16_000, level=9_000).tobytes(), "no audio file that is known here"),
        (bytes(100_000), "no audio file that is known here"),
        (ZIP.getvalue(), "look like a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(1_000)), "look like a PNG picture"),
        (b"%PDF-1.7\n" + bytes(500), "look like a PDF document"),
        (b"<!DOCTYPE html><html></html>", "look like an HTML or XML document"),
        (b'{"error": "not found"}', "look like a JSON document"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\nfile:///etc/passwd\n", "look like a playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "look like a playlist"),
        (b"MThd\0\0\0\6\0\0\0\1\0\x60", "look like a MIDI file"),
        (wav(b""), "holds no audio"),
        (wav(bytes(100))[:20], "cut off or damaged: it looks like WAV or AVI"),
        (wav(bytes(1_000), rate=0), "cut off or damaged"),
        (wav(bytes(1_000), rate=1), "1 samples a second; 1,000 to 768,000"),
        (wav(bytes(1_000), rate=999), "999 samples a second"),
        (wav(bytes(1_000), rate=1_000_000), "1,000,000 samples a second"),
        (wav(bytes(1_000), rate=4_000_000_000), "cut off or damaged"),
        (wav(bytes(1_000), channels=33), "33 channels; 1 to 32"),
        (wav(bytes(200_000), channels=60_000), "cannot be decoded"),
        (media("mp4", "", video="libx264", audio=False), "no audio stream, only: video"),
        (media("ipod", "aac")[:1_500], "cut off or damaged: it looks like MP4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_without_audio_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(MediaError) as raised:
        heard(data)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300


def test_other_files_are_out_of_reach(tmp_path: Path) -> None:
    """A playlist gives no access to an existing file that it names."""
    path = tmp_path / "secret.wav"
    path.write_bytes(wav(pcm_bytes(tone(440, 1, 16_000))))
    for playlist in (
        f"ffconcat version 1.0\nfile '{path}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
        f'<?xml version="1.0"?><MPD><BaseURL>{path}</BaseURL></MPD>',
        f"v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na=control:{path}\n",
    ):
        with pytest.raises(MediaError):
            heard(playlist.encode())


@pytest.mark.parametrize("claimed", [0, 100, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_claimed_length_is_not_trusted(claimed: int) -> None:
    """A header that claims too much costs nothing; one that claims too little may be believed."""
    sent = tone(440, 1, 16_000)
    samples = heard(wav(pcm_bytes(sent), claimed=claimed))
    assert len(samples) in ({len(sent), claimed // 2} if claimed else {len(sent)})


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("adts", "aac")]
)
def test_a_file_that_is_cut_off_is_used_as_far_as_it_goes(container: str, codec: str) -> None:
    whole = media(container, codec, seconds=3)
    samples = heard(whole[: len(whole) // 2])
    # An Ogg page is a second long.
    assert 0.9 < len(samples) / 16_000 < 2
    assert peak_hertz(samples, 16_000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("ipod", "aac")]
)
def test_damage_in_the_middle_costs_a_little(container: str, codec: str) -> None:
    whole = bytearray(media(container, codec, seconds=3))
    middle = len(whole) // 2
    whole[middle : middle + 60] = bytes(range(60, 120))
    assert len(heard(bytes(whole))) / 16_000 == pytest.approx(3, abs=1.05 if container == "ogg" else 0.2)


def test_streams_that_are_announced_late_do_no_harm() -> None:
    """A second audio track that begins late in the file."""
    first, second = (media("mpegts", "aac", seconds=seconds) for seconds in (1, 1))
    packets = bytearray(second)
    for start in range(0, len(packets), 188):
        # Another packet identifier, in the program map too.
        if packets[start + 1] & 0x1F == 1:
            packets[start + 2] ^= 0x20
    samples = heard(first * 8 + bytes(packets) + first)
    assert len(samples) > 8 * 15_000


def test_limits_of_length() -> None:
    data = wav(pcm_bytes(tone(440, 2, 16_000)))
    assert len(heard(data, limits=MediaLimits(max_seconds=2))) == 32_000
    got = 0
    with pytest.raises(MediaError, match=r"longer than 1\.5 seconds"):
        for samples in decode(data, rate=16_000, limits=MediaLimits(max_seconds=1.5)):
            got += len(samples)
    assert got <= 1.5 * 16_000
    with pytest.raises(MediaError, match=r"64,044 bytes; at most 64,000"):
        heard(data, limits=MediaLimits(max_bytes=64_000))
    with pytest.raises(ValueError, match="max_seconds is 0; must be positive"):
        MediaLimits(max_seconds=0)


def test_ogg_streams_one_after_the_other_are_one_recording() -> None:
    parts = []
    for hertz in (440, 880):
        encoder = StreamEncoder(encoding=Encoding.OPUS, source_rate=16_000, rate=16_000)
        parts.append(encoder.feed(tone(hertz, 1, 16_000)) + encoder.finish())
    samples = heard(b"".join(parts))
    assert len(samples) == pytest.approx(32_000, abs=1_000)
    assert peak_hertz(samples[:15_000], 16_000) == pytest.approx(440, abs=2)
    assert peak_hertz(samples[-15_000:], 16_000) == pytest.approx(880, abs=2)


SEEDS = [
    media("wav", "pcm_s16le", seconds=0.2, rate=16_000),
    media("mp3", "libmp3lame", seconds=0.3),
    media("flac", "flac", seconds=0.2, rate=16_000),
    media("ogg", "libopus", seconds=0.3),
    media("ipod", "aac", seconds=0.3),
    media("webm", "libopus", seconds=0.3),
    media("adts", "aac", seconds=0.3),
    media("amr", "libopencore_amrnb", seconds=0.3, rate=8_000),
]


def reads_or_refuses(data: bytes) -> None:
    limits = MediaLimits(max_seconds=20)
    try:
        total = sum(len(samples) for samples in decode(data, rate=8_000, limits=limits))
    except MediaError as error:
        assert 10 < len(str(error)) < 300
    else:
        assert 0 < total <= 20 * 8_000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3_000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reads_or_refuses(data)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=4)), max_size=6),
)
def test_cut_and_damaged_files_are_read_or_refused(data: bytes, end: int, damages: list[tuple[int, bytes]]) -> None:
    broken = bytearray(data[: len(data) - end % len(data)])
    for place, value in damages:
        at = place % len(broken)
        broken[at : at + len(value)] = value
    reads_or_refuses(bytes(broken))

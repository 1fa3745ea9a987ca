"""Encoding while audio is made: complete, on time, and faithful."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import Encoding, MediaError, StreamEncoder, pcm_samples, pick_rate, probe
from enginehouse.engines.voice.backends.base import Samples
from engines.voice.tests.audio.sounds import LIMITS, chirp, heard, peak_hertz, tone

# The maximum padding of each before and after the audio, in samples at its own rate.
PADDING = {Encoding.MP3: (0, 2 * 1152), Encoding.AAC: (1024, 2 * 1024)}
CASES = [
    (encoding, rate)
    for encoding in Encoding
    for rate in sorted(encoding.rates if not isinstance(encoding.rates, range) else (8_000, 16_000, 22_050, 48_000))
]


def encoded(samples: Samples, encoding: Encoding, source_rate: int, rate: int, *, piece: int = 441) -> bytes:
    encoder = StreamEncoder(encoding=encoding, source_rate=source_rate, rate=rate)
    pieces = [encoder.feed(samples[start : start + piece]) for start in range(0, len(samples), piece)]
    assert encoder.samples_in == len(samples)
    return b"".join([*pieces, encoder.finish()])


def decoded(data: bytes, encoding: Encoding, rate: int) -> Samples:
    return pcm_samples(data) if encoding is Encoding.PCM else heard(data, rate=rate)


def delay(got: Samples, sent: Samples) -> int:
    """Return the delay in samples of the beginning of `sent` in `got`."""
    size = 2 * len(got)
    likeness = np.fft.irfft(np.fft.rfft(got, size) * np.conj(np.fft.rfft(sent, size)), size)
    return int(np.argmax(likeness[: len(got)]))


@pytest.mark.parametrize(("encoding", "rate"), CASES, ids=str)
def test_round_trip(encoding: Encoding, rate: int) -> None:
    source_rate = 22_050
    samples = chirp(100, 1_200, 1.37, source_rate)
    got = decoded(encoded(samples, encoding, source_rate, rate), encoding, rate)
    before, after = PADDING.get(encoding, (0, 0))
    assert 1.37 * rate - 2 <= len(got) <= 1.37 * rate + before + after + 2
    # Aligned by the beginning: every moment of a chirp is different.
    sent = chirp(100, 1_200, 1.37, rate).astype(float)
    lag = delay(got, sent)
    # Opus in its speech mode lags 1/16 of a millisecond.
    assert abs(lag - before) <= max(1, rate // 16_000)
    part = got[lag : lag + len(sent)].astype(float)
    assert len(part) >= len(sent) - 2
    likeness = np.corrcoef(part[: len(sent)], sent[: len(part)])[0, 1]
    assert likeness > (0.9999 if encoding in (Encoding.WAV, Encoding.PCM, Encoding.FLAC) else 0.95)


@pytest.mark.parametrize("encoding", Encoding)
def test_pitch_is_kept(encoding: Encoding) -> None:
    rate = pick_rate(encoding, requested=0, own=22_050)
    got = decoded(encoded(tone(1_000, 1.5, 22_050), encoding, 22_050, rate), encoding, rate)
    assert peak_hertz(got, rate) == pytest.approx(1_000, abs=2)


@pytest.mark.parametrize("encoding", [Encoding.WAV, Encoding.PCM, Encoding.FLAC])
def test_lossless_encodings_lose_nothing(encoding: Encoding) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, 20_000).astype(np.int16)
    assert np.array_equal(decoded(encoded(samples, encoding, 24_000, 24_000), encoding, 24_000), samples)


@pytest.mark.parametrize(("encoding", "rate"), CASES, ids=str)
def test_first_bytes_come_soon(encoding: Encoding, rate: int) -> None:
    encoder = StreamEncoder(encoding=encoding, source_rate=rate, rate=rate)
    samples = tone(300, 0.5, rate)
    step = rate // 100
    fed = next(end for end in range(step, len(samples), step) if encoder.feed(samples[end - step : end]))
    # AAC has no header, and its encoder looks two frames ahead.
    soon = max(0.06, 2 * 1024 / rate + 0.01) if encoding is Encoding.AAC else 0.02
    assert fed / rate <= soon


@pytest.mark.parametrize("encoding", Encoding)
def test_bytes_keep_coming(encoding: Encoding) -> None:
    """The bytes so far decode to all but the last moments of the input."""
    encoder = StreamEncoder(encoding=encoding, source_rate=24_000, rate=24_000)
    samples = tone(300, 2, 24_000)
    out = b""
    for start in range(0, len(samples), 1_440):
        out += encoder.feed(samples[start : start + 1_440])
        fed = (start + 1_440) / 24_000
        if 0.5 < fed < 2:
            got = len(decoded(out, encoding, 24_000)) / 24_000
            late = PADDING.get(encoding, (0, 0))[0] / 24_000
            # MP3 and AAC look ahead by two frames or three.
            assert got - late > fed - (0.14 if encoding in PADDING else 0.05)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("count", [0, 100])
def test_very_short_audio_is_a_complete_file(encoding: Encoding, count: int) -> None:
    encoder = StreamEncoder(encoding=encoding, source_rate=24_000, rate=24_000)
    data = encoder.feed(np.full(count, 1000, dtype=np.int16)) + encoder.finish()
    if encoding is Encoding.PCM:
        assert len(data) == 2 * count
    elif count:
        assert len(heard(data, rate=24_000)) >= count
    else:
        with pytest.raises(MediaError):
            heard(data)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 3_000), max_size=12), st.sampled_from(Encoding), st.sampled_from([8_000, 16_000, 48_000])
)
def test_the_result_does_not_depend_on_the_pieces(sizes: list[int], encoding: Encoding, source_rate: int) -> None:
    """The file does not depend on how the audio is cut."""
    rate = 16_000
    samples = chirp(100, 3_000, (sum(sizes) + 500) / source_rate, source_rate)
    encoder = StreamEncoder(encoding=encoding, source_rate=source_rate, rate=rate)
    data, at = b"", 0
    for size in sizes:
        data += encoder.feed(samples[at : at + size])
        at += size
    data += encoder.feed(samples[at:]) + encoder.finish()
    at_once = StreamEncoder(encoding=encoding, source_rate=source_rate, rate=rate)
    whole = at_once.feed(samples) + at_once.finish()
    if encoding is Encoding.OPUS:
        # Its pages end where the pieces did.
        assert np.array_equal(heard(data, rate=rate), heard(whole, rate=rate))
    else:
        assert data == whole


def test_wav_is_read_by_others() -> None:
    samples = tone(440, 0.5, 24_000)
    with wave.open(io.BytesIO(encoded(samples, Encoding.WAV, 24_000, 24_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert np.array_equal(pcm_samples(file.readframes(len(samples) + 10)), samples)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("count", [0, 1, 100, 30_001])
def test_the_final_header_states_the_length(rate: int, count: int) -> None:
    samples = tone(440, 2, 24_000)[:count]
    for encoding in (Encoding.WAV, Encoding.FLAC):
        encoder = StreamEncoder(encoding=encoding, source_rate=24_000, rate=rate)
        data = encoder.feed(samples[:77]) + encoder.feed(samples[77:]) + encoder.finish()
        header = encoder.final_header()
        raw = encoded(samples, Encoding.PCM, 24_000, rate)
        # FLAC says 0 for a length that is unknown.
        assert data.startswith(header) == (encoding is Encoding.FLAC and not raw)
        whole = header + data[len(header) :]
        if encoding is Encoding.WAV:
            assert struct.unpack("<I", whole[4:8])[0] == len(whole) - 8
            with wave.open(io.BytesIO(whole)) as file:
                assert (file.getframerate(), file.getnframes()) == (rate, len(raw) // 2)
                assert file.readframes(2 * len(raw)) == raw
        else:
            # RFC 9639, 8.2: the rate has 20 bits, channels 3, sample size 5, the number of samples 36.
            form = int.from_bytes(whole[18:26], "big")
            assert (form >> 44, form & (1 << 36) - 1) == (rate, len(raw) // 2)
            if raw:
                assert np.array_equal(heard(whole, rate=rate), pcm_samples(raw))


@pytest.mark.parametrize("encoding", Encoding)
def test_the_encodings_that_state_their_length(encoding: Encoding) -> None:
    encoder = StreamEncoder(encoding=encoding, source_rate=24_000, rate=24_000)
    encoder.finish()
    if encoding.states_length:
        assert encoder.final_header()
    else:
        with pytest.raises(ValueError, match="does not state the length"):
            encoder.final_header()


@pytest.mark.parametrize(
    ("encoding", "container"),
    [
        (Encoding.WAV, "wav"),
        (Encoding.MP3, "mp3"),
        (Encoding.OPUS, "ogg"),
        (Encoding.AAC, "aac"),
        (Encoding.FLAC, "flac"),
    ],
)
def test_probe_describes_files(encoding: Encoding, container: str) -> None:
    info = probe(encoded(tone(440, 1, 24_000), encoding, 24_000, 24_000), limits=LIMITS)
    assert (info.container, info.channels) == (container, 1)
    assert info.sample_rate == (48_000 if encoding is Encoding.OPUS else 24_000)


def test_a_long_opus_stream_keeps_its_clock() -> None:
    """Many packets at once need several pages."""
    samples = tone(440, 30, 16_000)
    data = encoded(samples, Encoding.OPUS, 16_000, 16_000, piece=len(samples))
    assert data.count(b"OggS") > 30
    assert len(heard(data, rate=16_000)) == len(samples)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="44100 samples a second: opus supports"):
        StreamEncoder(encoding=Encoding.OPUS, source_rate=24_000, rate=44_100)
    with pytest.raises(ValueError, match="invalid sample rate: 0"):
        StreamEncoder(encoding=Encoding.WAV, source_rate=24_000, rate=0)
    encoder = StreamEncoder(encoding=Encoding.WAV, source_rate=24_000, rate=24_000)
    with pytest.raises(ValueError, match="length is not known"):
        encoder.final_header()
    encoder.finish()
    with pytest.raises(ValueError, match="finished"):
        encoder.feed(np.zeros(1, dtype=np.int16))
    with pytest.raises(ValueError, match="finished"):
        encoder.finish()

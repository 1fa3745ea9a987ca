"""The choice of sample rates, and media types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import Encoding, pick_rate


@pytest.mark.parametrize(
    ("encoding", "own", "picked"),
    [
        (Encoding.WAV, 22_050, 22_050),
        (Encoding.PCM, 16_000, 16_000),
        (Encoding.FLAC, 24_000, 24_000),
        (Encoding.FLAC, 96_000, 48_000),
        (Encoding.WAV, 4_000, 8_000),
        (Encoding.MP3, 22_050, 22_050),
        (Encoding.MP3, 22_051, 24_000),
        (Encoding.AAC, 44_099, 44_100),
        (Encoding.OPUS, 22_050, 24_000),
        (Encoding.OPUS, 44_100, 48_000),
        (Encoding.OPUS, 192_000, 48_000),
    ],
)
def test_the_lowest_lossless_rate_is_the_default(encoding: Encoding, own: int, picked: int) -> None:
    assert pick_rate(encoding, requested=0, own=own) == picked


@given(st.sampled_from(Encoding), st.integers(-1, 60_000), st.integers(1_000, 200_000))
def test_a_requested_rate_is_picked_or_refused(encoding: Encoding, requested: int, own: int) -> None:
    if requested in encoding.rates:
        assert pick_rate(encoding, requested=requested, own=own) == requested
    elif requested:
        with pytest.raises(ValueError, match=f"{requested} samples a second: {encoding.value} supports "):
            pick_rate(encoding, requested=requested, own=own)
    else:
        assert pick_rate(encoding, requested=requested, own=own) in encoding.rates


def test_errors_name_the_supported_rates() -> None:
    with pytest.raises(ValueError, match="opus supports 8000, 12000, 16000, 24000, 48000"):
        pick_rate(Encoding.OPUS, requested=44_100, own=24_000)
    with pytest.raises(ValueError, match="pcm supports 8000 to 48000"):
        pick_rate(Encoding.PCM, requested=7_999, own=24_000)


def test_media_types() -> None:
    assert {encoding.value: encoding.content_type for encoding in Encoding} == {
        "wav": "audio/wav",
        "mp3": "audio/mpeg",
        "opus": "audio/ogg",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "pcm": "audio/pcm",
    }

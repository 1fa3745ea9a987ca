"""The fit of a model's voices to a requested one."""

from __future__ import annotations

import pytest

from enginehouse.kit.voice_names import VoiceFit, voice_fit


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("en-us", VoiceFit.NAME),
        ("EN_US", VoiceFit.NAME),
        ("en-us+F3", VoiceFit.NAME),
        ("alloy", VoiceFit.NAME),
        ("+f3", VoiceFit.NAME),
        ("en", VoiceFit.LANGUAGE),
        ("en-IN+f3", VoiceFit.LANGUAGE),
        ("en-us+nobody", VoiceFit.NONE),
        ("en-us+", VoiceFit.NONE),
        ("en-Latn-GB-oxendict-x-any", VoiceFit.LANGUAGE),
        ("te-no-such-voice", VoiceFit.NONE),
        ("en-robot", VoiceFit.NONE),
        ("fr", VoiceFit.NONE),
        ("joe", VoiceFit.NONE),
        ("", VoiceFit.NONE),
        ("en" + "-a" * 60 + "!", VoiceFit.NONE),
    ],
)
def test_voices_fit_by_name_or_by_language(name: str, fit: VoiceFit) -> None:
    assert voice_fit(name, voices={"en-us", "te", "alloy", "+f3"}, languages={"en", "te"}) is fit

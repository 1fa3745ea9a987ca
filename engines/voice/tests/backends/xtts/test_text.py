"""Texts split for XTTS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.xtts._text import (
    LIMITS,
    MAX_TEXT_LENGTH,
    missing_reader,
    spelled,
    split_for_model,
    supported_languages,
)


@given(text=st.text(max_size=900), language=st.sampled_from(["en", "zh", "ja", "hi", "xx"]))
def test_nothing_is_lost_and_nothing_is_too_long(text, language):
    parts = split_for_model(text, language)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part.strip() == part and 0 < len(part) <= LIMITS.get(language, MAX_TEXT_LENGTH) for part in parts)


@pytest.mark.parametrize(
    ("unit", "language", "last"),
    [
        ("This is said, and that as well. ", "en", "."),
        ("They go on and on, ", "en", ","),
        ("word ", "en", "d"),
        ("你好世界。", "zh", "。"),
        ("यह एक वाक्य है। ", "hi", "।"),
    ],
)
def test_cuts_are_at_the_best_boundary(unit, language, last):
    parts = split_for_model(unit * (600 // len(unit)), language)
    assert len(parts) > 1
    assert all(part.endswith(last) for part in parts)
    # Each of the maximum length.
    assert all(len(part) + len(unit) > LIMITS[language] for part in parts[:-1])


def test_numbers_are_not_cut_at_their_points():
    text = "a" * 240 + " 3.14159265358979"
    assert split_for_model(text, "en") == ["a" * 240, "3.14159265358979"]


def test_short_texts_stay_as_they_are():
    assert split_for_model("  Hello. There. ", "en") == ["Hello. There."]
    assert split_for_model(" \n", "en") == []


def test_signs_keep_their_marks():
    assert spelled("añ b") == "a, ñ, b"
    assert spelled("हिन्दी") == "हि, न्, दी"


def test_languages_without_a_reader_are_left_out():
    # Neither is installed in this environment.
    assert missing_reader("zh") == "pip install 'coqui-tts[zh]'"
    assert missing_reader("en") == ""
    assert supported_languages(["en", "pt", "zh-cn", "ja", "hi"]) == ["en", "pt", "hi"]

"""Texts that cannot be spoken."""

from __future__ import annotations

import pytest

from enginehouse.engines.voice.text import check_text


@pytest.mark.parametrize("text", ["Hi", "5", "నమస్తే", "😀 ok", "a\r\n\tb", "漢", "½ x"])
def test_texts_that_can_be_spoken(text: str) -> None:
    assert check_text(text) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        (" \n\t", "white space"),
        ("ab\x00", "U+0000, at character 2"),
        ("\x1b[0m", "U+001B, at character 0"),
        ("a\x85b", "U+0085"),
        ("a\ud83d", "surrogate pair, U+D83D"),
        ("...!?", "only punctuation, symbols or emoji"),
        ("😀🎉", "only punctuation, symbols or emoji"),
        ("___", "only punctuation, symbols or emoji"),
    ],
)
def test_texts_that_cannot(text: str, part: str) -> None:
    problem = check_text(text)
    assert problem is not None
    assert part in problem

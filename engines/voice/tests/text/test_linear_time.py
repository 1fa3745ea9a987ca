"""Hostile texts take linear time."""

from __future__ import annotations

import time

import pytest

from enginehouse.engines.voice.text import Controls, IncrementalText, plan_text

SENTENCES = "The quick brown fox, Mr. Jones, paid $5.50 at 10:30 on 28/11/2026. It rests! "


def cost(text: str) -> float:
    """Return the processor seconds of this thread, of the quicker of two times: the first may load tables."""
    return min(_cost(text), _cost(text))


def _cost(text: str) -> float:
    begin = time.thread_time()
    plan = plan_text(text, controls=Controls())
    spent = time.thread_time() - begin
    assert sum(chunk.characters for chunk in plan.chunks) == len(text)
    return spent


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "1",
            "1/",
            "1:",
            "1.",
            "1-",
            "1 ",
            "1,111,",
            "11,",
            "a.",
            "a@",
            "a@b.",
            "http://",
            "www.",
            "-",
            "- ",
            "$",
            "$1",
        ),
        *("Dr. ", "A. ", "... ", '"', '."', "(", "\n", "x\n", "\r", " ", "क्", "\u0c4d", "\u200d", "😀", "漢", "漢。"),
        *("King A ", "Chapter ", "Nov ", "#", "*", "_", "+91 ", "½", "ab-", "?!", "te నా ", "రూ.", "1వ "),
    ],
    ids=repr,
)
def test_no_text_is_quadratic(unit: str) -> None:
    small, large = unit * (2_000 // len(unit)), unit * (16_000 // len(unit))
    assert cost(large) < 16 * cost(small) + 0.3


@pytest.mark.parametrize("unit", [SENTENCES, "a", " ", "A. ", "😀"], ids=repr)
def test_pieces_of_one_character(unit: str) -> None:
    def fed(size: int) -> float:
        stream = IncrementalText(controls=Controls())
        begin = time.thread_time()
        for character in unit * (size // len(unit)):
            stream.feed(character)
        stream.flush()
        return time.thread_time() - begin

    small, large = fed(2_000), min(fed(16_000), fed(16_000))
    assert large < 16 * small + 0.3

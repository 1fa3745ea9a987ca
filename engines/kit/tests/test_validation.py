from __future__ import annotations

import re

import grpc
import pytest

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import Checks, is_printable, shorten


def test_all_violations_are_told_together() -> None:
    checks = Checks()
    checks.in_range("temperature", 3.0, 0, 2)
    checks.in_range("top_p", 0.0, 0, 1, above_low=True)
    checks.in_range("min_p", float("nan"), 0, 1)
    checks.size("stop", ["x"] * 17, 0, 16)
    checks.matches("name", "a b" * 100, re.compile("[a-z]+"), "letters of [a-z]")
    checks.request_id("request_id", "ä")
    checks.require(False, "prompt", "exactly one of messages and prompt is set")
    with pytest.raises(ServiceError) as caught:
        checks.done()
    error = caught.value
    assert error.reason is Reason.INVALID_REQUEST
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [
        "temperature", "top_p", "min_p", "stop", "name", "request_id", "prompt",
    ]  # fmt: skip
    assert error.message == "temperature: 3 must be from 0 to 2 (and 6 more)"
    assert "above 0 and at most 1" in error.violations[1].description
    assert "17 entries" in error.violations[3].description
    assert len(error.violations[4].description) < 110


def test_what_is_right_passes() -> None:
    checks = Checks()
    assert checks.in_range("t", 2, 0, 2)
    assert checks.in_range("p", 1, 0, 1, above_low=True)
    assert checks.size("s", "", 0, 1)
    assert checks.request_id("r", "")
    assert checks.request_id("r", "a_B-9" * 12)
    assert not checks.request_id("r", "x" * 65)
    with pytest.raises(ServiceError):
        checks.done()
    Checks().done()


def test_values_are_shown_short_and_escaped() -> None:
    assert shorten("a\nb") == r"'a\nb'"
    assert len(shorten("x" * 1000)) < 80


@pytest.mark.parametrize(
    "text",
    ["", "Ana María", "క్\u200dష", "విండోస్\u200c", "می\u200cخواهم", "ക്\u200d", "👩\u200d👩\u200d👧", "❤️\u200d🔥", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
)
def test_what_languages_and_emoji_are_written_in_is_printable(text: str) -> None:
    assert is_printable(text)
    assert is_printable(f"{text} 2")


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\0", "a\x7f", "a\x85", "a\u202eb", "a\u2066b\u2069", "\u200d", "a \u200c", "a\u200d\u200db", "a\u2028b",
     "a\ufeff", "a\u200bb", "a\u2060b", "\ud800", "a\U000e0041", "🏴\U000e0067"],
)  # fmt: skip
def test_what_cannot_be_seen_or_turns_the_text_around_is_not(text: str) -> None:
    assert not is_printable(text)

"""Half a million characters are planned while a caller waits."""

from __future__ import annotations

import time

import pytest

from enginehouse.engines.voice.text import Controls, plan_text

SENTENCES = "The quick brown fox, Mr. Jones, paid $5.50 at 10:30 on 28/11/2026. It rests! "


@pytest.mark.parametrize("unit", [SENTENCES, "a", ".", "1,", "<"], ids=repr)
def test_half_a_million_characters(unit: str) -> None:
    text = (unit * (500_000 // len(unit) + 1))[:500_000]
    begin = time.process_time()
    plan = plan_text(text, controls=Controls())
    spent = time.process_time() - begin
    assert sum(chunk.characters for chunk in plan.chunks) == len(text)
    # An idle core needs less than 2 seconds; a busy one gets more. Quadratic time would be minutes.
    assert spent < 8

from __future__ import annotations

from bench.crowd import CALLERS, Crowd


def test_a_crowd_is_served_refused_or_failed() -> None:
    crowd = Crowd(budget_nanos=1000, spent_nanos=900, served=130, refused=160, seconds=2.0)
    figures = crowd.figures()
    assert figures["crowd_served"] + figures["crowd_refused"] + figures["crowd_failed"] == CALLERS
    assert figures["crowd_failed"] == 10
    assert figures["crowd_spent_of_budget"] == 0.9
    assert figures["crowd_overspend_nanos"] == 0


def test_what_was_spent_over_the_budget_is_told() -> None:
    crowd = Crowd(budget_nanos=1000, spent_nanos=1007, served=141, refused=159, seconds=2.0)
    assert crowd.figures()["crowd_overspend_nanos"] == 7

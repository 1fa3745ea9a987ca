"""Suggestions for unknown names."""

from __future__ import annotations

import time

from enginehouse.kit.nearest import did_you_mean, nearest_names


def test_the_nearest_comes_first() -> None:
    assert nearest_names("modles", ["listen", "models", "model"], count=2) == ["models", "model"]
    assert nearest_names("modles", ["listen"]) == []


def test_words_for_an_error() -> None:
    assert did_you_mean("modles", ["listen", "models"]) == "; did you mean 'models'?"
    assert did_you_mean("modles", ["model", "models"], count=2) == "; did you mean 'models' or 'model'?"
    assert did_you_mean("zzz", ["b", "a"]) == ""
    assert did_you_mean("zzz", ["b", "a"], list_known=True) == "; known: a, b"
    assert did_you_mean("zzz", [], list_known=True) == ""


def test_a_long_name_takes_no_time() -> None:
    started = time.monotonic()
    nearest_names("x" * 1_000_000, ["models"] * 100)
    assert time.monotonic() - started < 1

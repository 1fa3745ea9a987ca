from __future__ import annotations

import pytest

from bench.selection import FULL, FULL_JSON, LITELLM, PARTS, PATHS, Selection, named, slug


def test_only_everything_is_the_whole() -> None:
    assert Selection().is_whole
    assert Selection(paths=list(reversed(PATHS)), concurrencies=[64, 1, 16]).is_whole
    assert not Selection(parts=[part for part in PARTS if part != "voice"]).is_whole
    assert not Selection(paths=[FULL]).is_whole
    assert not Selection(workloads=["request"]).is_whole
    assert not Selection(concurrencies=[64]).is_whole
    assert not Selection(seconds=0.5).is_whole


def test_a_path_is_needed_if_it_was_chosen_and_paths_are_measured() -> None:
    assert Selection(paths=[FULL]).needs(LITELLM, FULL)
    assert not Selection(paths=[FULL]).needs(LITELLM)
    assert not Selection(parts=["decision"]).needs(FULL)


def test_every_path_can_be_typed_and_means_one() -> None:
    assert [named(PATHS, slug(name)) for name in PATHS] == list(PATHS)
    assert slug(FULL_JSON) == "full-openai-json"
    with pytest.raises(ValueError, match=r"'fast' is none of grpc-floor, direct, .*, litellm"):
        named(PATHS, "fast")

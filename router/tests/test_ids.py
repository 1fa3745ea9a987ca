"""Ids never repeat, also when their random bits were drawn together."""

from __future__ import annotations

import re

from enginehouse.router.ids import IdPairs


def test_ids_of_many_pairs_are_whole_and_never_repeat() -> None:
    pairs = IdPairs()
    made = [pairs.next("grn", "req") for _ in range(1000)]
    assert all(
        re.fullmatch("grn_[0-9a-f]{32}", first) and re.fullmatch("req_[0-9a-f]{32}", second) for first, second in made
    )
    assert len({name[4:] for pair in made for name in pair}) == 2000


def test_sources_share_no_bits() -> None:
    assert IdPairs().next("a", "b") != IdPairs().next("a", "b")

"""The model of the ledger's protocol: every state within small bounds, many within larger ones, each broken rule."""

from __future__ import annotations

import pytest

from router.verification.mutations import MUTATIONS, Mutation
from router.verification.protocol import Bounds, Protocol
from router.verification.search import search, walk


@pytest.mark.timeout(400)
def test_every_state_within_small_bounds() -> None:
    """One request, two replicas, an engine, and one thing that goes wrong, anywhere."""
    found = search(Protocol(Bounds(requests=1, draws=1, faults=1)), rest_of=64)
    assert not found.violation, "\n".join([found.violation, *found.trace])
    assert found.complete
    assert found.states > 40_000


@pytest.mark.timeout(400)
def test_every_state_of_a_request_that_is_extended() -> None:
    """One request that turns out to need more, two replicas and an engine."""
    found = search(Protocol(Bounds(requests=1, draws=1, faults=0, extensions=1)), rest_of=16)
    assert not found.violation, "\n".join([found.violation, *found.trace])
    assert found.complete


def test_what_is_near_within_larger_bounds() -> None:
    found = search(
        Protocol(Bounds(requests=3, draws=4, faults=2, late_marks=True, extensions=2)), rest_of=64, max_states=15_000
    )
    assert not found.violation, "\n".join([found.violation, *found.trace])


@pytest.mark.parametrize("seed", [1, 2])
def test_random_paths_within_larger_bounds(seed: int) -> None:
    bounds = Bounds(requests=4, draws=6, faults=3, limit=3, late_marks=True, extensions=3)
    found = walk(Protocol(bounds), seed=seed, walks=60)
    assert not found.violation, "\n".join([found.violation, *found.trace])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.__name__)
def test_a_broken_rule_is_found(mutation: type[Mutation]) -> None:
    found = search(mutation(), rest_of=4)
    assert found.violation, f"{found.states} states, and none shows that the rule is broken"

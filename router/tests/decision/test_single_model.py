"""The comparison of routing with one model for all recent requests, at no more cost."""

from __future__ import annotations

import pytest

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.pricing import UNITS
from enginehouse.router.decision.single_model import RecentChoices, compare
from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Task


def offer(name: str, *, quality: float, price: int) -> Offer:
    """An offer that costs `price` dollars for a million tokens read, and nothing for the answer."""
    return Offer.of(
        CatalogModel(
            name=name,
            cluster="inference",
            backend="llama.cpp",
            source="bundled:x",
            context_tokens=8192,
            max_output_tokens=256,
            capabilities=frozenset({"chat"}),
            quality=quality,
            prices={UNITS["input_tokens"]: price * 10**9},
            options={},
        )
    )


CHEAP, MIDDLE, DEAR = (
    offer("cheap", quality=0.2, price=1),
    offer("middle", quality=0.5, price=4),
    offer("dear", quality=0.9, price=9),
)


def noted(*rows: tuple[str, float], tenant_id: str = "ten_1", size: int = 1000) -> RecentChoices:
    recent = RecentChoices(size=size)
    for model, complexity in rows:
        recent.note(tenant_id, model, InferenceRequest(Task.GENERATE, input_bytes=10), Prediction(complexity, ()))
    return recent


def test_the_best_single_model_costs_no_more_than_routing() -> None:
    # Half on a model at 1 and half on one at 9 make 5: the middle one at 4 is affordable and the best of those.
    recent = noted(("cheap", 0.1), ("dear", 0.9))
    compared = compare(recent.of("ten_1"), [CHEAP, MIDDLE, DEAR])
    assert compared is not None
    assert (compared.requests, compared.routed_nanos) == (2, 50_000)
    assert (compared.model, compared.nanos) == ("middle", 40_000)
    easy, hard = Prediction(0.1, ()), Prediction(0.9, ())
    assert compared.routed_sufficiency == pytest.approx((easy.suffices(0.2) + hard.suffices(0.9)) / 2)
    assert compared.sufficiency == pytest.approx((easy.suffices(0.5) + hard.suffices(0.5)) / 2)


def test_where_routing_takes_the_dearest_that_one_alone_does_as_well() -> None:
    compared = compare(noted(("dear", 0.9), ("dear", 0.8)).of("ten_1"), [CHEAP, MIDDLE, DEAR])
    assert compared is not None
    assert (compared.model, compared.nanos) == ("dear", compared.routed_nanos)
    assert compared.sufficiency == pytest.approx(compared.routed_sufficiency)


def test_the_latest_choices_of_the_tenant_alone_count() -> None:
    recent = noted(("dear", 0.5), ("cheap", 0.5), ("cheap", 0.5), size=2)
    compared = compare(recent.of("ten_1"), [CHEAP, DEAR])
    assert compared is not None
    assert (compared.requests, compared.routed_nanos) == (2, 10_000)
    assert compare(recent.of("ten_2"), [CHEAP, DEAR]) is None


def test_what_was_named_or_is_no_text_is_not_noted() -> None:
    recent = RecentChoices()
    recent.note("ten_1", "cheap", InferenceRequest(Task.GENERATE, input_bytes=10), None)
    recent.note("ten_1", "cheap", InferenceRequest(Task.EMBED, inputs=[10]), Prediction(0.5, ()))
    assert compare(recent.of("ten_1"), [CHEAP]) is None


def test_models_that_are_gone_are_left_out() -> None:
    recent = noted(("gone", 0.5), ("dear", 0.5))
    compared = compare(recent.of("ten_1"), [MIDDLE, DEAR])
    assert compared is not None
    assert (compared.requests, compared.routed_nanos) == (1, 90_000)

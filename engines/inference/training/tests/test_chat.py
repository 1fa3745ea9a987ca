"""Copied runs are found wherever they stand, so that a shown sample is the model's own."""

import pytest

pytest.importorskip("xllamacpp")

from engines.inference.training.storymodel.chat import longest_shared_run
from engines.inference.training.storymodel.corpus import plain_words
from engines.inference.training.storymodel.obedience import names

RUNNING = plain_words("The grey heron stood in the pond. A frog sang!") + plain_words(
    "Nobody answered it. ఒక కొంగ చెరువులో ఉంది"
)


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        ("the heron stood in the pond, and a frog sang", 5),
        ("A frog sang. Nobody answered it", 3),
        ("frogs", 0),
        ("", 0),
        ("sang", 1),
        ("The GREY heron stood", 4),
        ("కొంగ చెరువులో నిలబడింది", 2),
    ],
)
def test_the_longest_shared_run(answer: str, length: int) -> None:
    assert longest_shared_run(answer, RUNNING) == length


def test_a_noun_is_named_as_a_word_only() -> None:
    assert names("Two hens sang.", "hen")
    assert not names("Then they sang.", "hen")
    assert names("ఒక కాకిని చూసింది", "కాకి")
    assert not names("మేకాకి", "కాకి")

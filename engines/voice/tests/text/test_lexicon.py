"""The pronunciation lexicon."""

from __future__ import annotations

import time

import pytest

from enginehouse.engines.voice.text import Controls, plan_text
from engines.voice.tests.text.plans import said


def saying(text: str, *entries: tuple[str, str]) -> str:
    return " ".join(said(text, Controls(lexicon=entries)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NASA nasa Nasa", "nassa nassa nassa"),
        ("NASAL nasa.", "NASAL nassa."),
        ("a-nasa (nasa)", "a-nassa (nassa)"),
        ("nasa5 _nasa", "nasa five nasa"),
    ],
)
def test_whole_words_in_any_case(text: str, words: str) -> None:
    assert saying(text, ("Nasa", "nassa")) == words


def test_vowel_signs_belong_to_the_word() -> None:
    assert saying("రామ రాముడు రామా రామ.", ("రామ", "సీత")) == "సీత రాముడు రామా సీత."


def test_the_longest_entry_counts_and_what_was_put_in_is_not_looked_up() -> None:
    entries = (("new", "old"), ("new york", "N Y"), ("old", "ancient"), ("york", "jork"))
    assert saying("new york, New  York, new, york", *entries) == "N Y, N Y, old, jork"


def test_entries_of_signs() -> None:
    assert saying("I like C++ and C.", ("c++", "see plus plus"), ("C", "see")) == "I like see plus plus and see."


def test_of_two_entries_for_a_word_the_first_counts_and_blank_ones_match_nothing() -> None:
    assert saying("word", ("word", "first"), ("WORD", "second"), (" ", "x"), ("", "y")) == "first"


def test_aliases_are_normalized() -> None:
    assert saying("the lot", ("lot", "5 km 😀")) == "the five kilometres"


def test_the_written_text_is_counted() -> None:
    text = "NASA flies."
    plan = plan_text(text, controls=Controls(lexicon=(("NASA", "the space agency of the United States"),)))
    assert plan.characters == len(text)


def test_a_thousand_entries_cost_hardly_more_than_one() -> None:
    text = "the word of the day is word " * 4000
    few, many = (("absent", "x"),), tuple((f"the word {number}", "x") for number in range(1000))

    def cost(entries: tuple[tuple[str, str], ...]) -> float:
        begin = time.process_time()
        plan_text(text, controls=Controls(lexicon=entries))
        return time.process_time() - begin

    assert min(cost(many) for _ in range(2)) < 3 * min(cost(few) for _ in range(2)) + 0.5

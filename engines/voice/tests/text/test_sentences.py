"""Ends of sentences."""

from __future__ import annotations

import pytest

from enginehouse.engines.voice.text import Controls
from engines.voice.tests.text.plans import said

VERBATIM = Controls(verbatim=True)


@pytest.mark.parametrize(
    "text",
    [
        "It is 3.14 or so.",
        "Dr. Rao and Mr. J. K. Singh came.",
        "Take fruit, e.g. apples, i.e. red ones.",
        "The U.S. team won.",
        "The U.S. Army came.",
        "Wait... what is it?",
        "Wait… what is it?",
        "See No. 5 and fig. 3.",
        "On Nov. 28 it rained.",
        "1. First of all",
        "Pay Rs. 500 now.",
        "It is at example.com now.",
        '"Really?" she asked.',
        '"నేను వెళ్తాను." అని అన్నాడు.',
        "At 5 p.m. we left.",
        "డా. రావు వచ్చారు.",
        "ఎన్. టి. రామారావు వచ్చారు.",
        "అయ్యో... ఏమైంది?",
    ],
)
def test_one_sentence(text: str) -> None:
    assert said(text, VERBATIM) == [text]


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", "Two!", "Three?", "Four?!", "Five."],
        ['He said "I left."', "She stayed."],
        ["(It was late.)", "They slept."],
        ['"నేను వెళ్తాను."', "అతను వెళ్ళాడు."],
        ["We moved to the U.S.", "The rest stayed."],
        ["It came at 5 p.m.", "We had left."],
        ["Apples, pears, etc.", "All were ripe."],
        ["Wait...", "What?"],
        ["So do I.", "They came."],
        ["It was in 2005.", "Then it ended."],
        ["यह एक वाक्य है।", "यह दूसरा है॥", "तीसरा"],
        ["ఇది ఒకటి.", "ఇది రెండు!", "ఇది మూడు?"],
        ["He said no.", "She left."],
        ["It is at Baker St.", "They went to St. Mary."],
    ],
)
def test_several_sentences(sentences: list[str]) -> None:
    assert said(" ".join(sentences), VERBATIM) == sentences
    assert said("\r\n".join(sentences), VERBATIM) == sentences


def test_full_width_marks_and_dandas_need_no_space() -> None:
    assert said("これは一つ。これは二つ！「三つ。」四つ？", VERBATIM) == [
        "これは一つ。",
        "これは二つ！",
        "「三つ。」",
        "四つ？",
    ]
    assert said("यह है।वह है।", VERBATIM) == ["यह है।", "वह है।"]


def test_spaces_within_a_half_of_the_day() -> None:
    assert said("Son las 9 a. m. y llueve", Controls(language="es")) == ["Son las 9 a.m. y llueve"]


def test_lines() -> None:
    wrapped = "This is a text that somebody has wrapped at the margin of the\npage, so that one sentence has two lines."
    assert said(wrapped) == [wrapped.replace("\n", " ")]
    assert said("Milk\nEggs\r\nBread") == ["Milk", "Eggs", "Bread"]
    assert said(wrapped[:-1] + "\n\nNext") == [wrapped[:-1].replace("\n", " "), "Next"]
    long_line = "This line is long enough that nobody would take it for a heading"
    assert said(f"{long_line}\n- an item\n- another") == [long_line, "an item", "another"]


def test_the_length_of_a_line_counts_from_its_beginning() -> None:
    assert said("All of this is one line that ends with a short sentence. It\ngoes on here.") == [
        "All of this is one line that ends with a short sentence.",
        "It goes on here.",
    ]


def test_long_sentences_are_cut_at_clauses_then_spaces_then_letters() -> None:
    controls = Controls(max_length=20)
    assert said("one two three, four five six seven", controls) == ["one two three,", "four five six seven"]
    assert said("one two three four five six seven", controls) == ["one two three four", "five six seven"]
    assert said("a" * 50, controls) == ["a" * 20, "a" * 20, "a" * 10]


def test_a_cut_keeps_combining_marks() -> None:
    syllable = "క్షి"
    controls = Controls(max_length=21)
    pieces = said(syllable * 20, controls)
    assert "".join(pieces) == syllable * 20
    assert all(len(piece) % len(syllable) == 0 for piece in pieces)
    family = "క\u200dష"
    assert all(not piece.startswith("\u200d") for piece in said(family * 50, controls))


def test_no_number_is_cut_at_its_separators() -> None:
    assert said("aaaa bbbb cccc 1,234,567 dddd", Controls(max_length=20, verbatim=True)) == [
        "aaaa bbbb cccc",
        "1,234,567 dddd",
    ]

"""Plans of plain text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.base import Prosody
from enginehouse.engines.voice.text import Controls, Pause, check_text, plan_text
from engines.voice.tests.text.plans import said, says, script, texts

WORDS = st.sampled_from(
    [
        *("Hello", "world.", "Dr.", "U.S.", "3.14", "1999", "₹1,50,000", "e.g.", "...", "నమస్తే", "రామ్‌గోపాల్", "है।"),
        *("\n", "\n\n", "\r\n", "\t", " ", "😀", "\u202e", '"', "!", "?", "a" * 40, "漢字。", "10:30", "end.)", "1,"),
        *("क्षि" * 12, "x@y.com", "#", "***", "10", "km", "12345678901234567890", "$", "-", "5%", "1/2"),
    ]
)
TEXTS = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=60).map(" ".join)


@given(TEXTS, st.integers(16, 80))
def test_chunks_cover_the_text_and_nothing_is_too_long(text: str, max_length: int) -> None:
    plan = plan_text(text, controls=Controls(max_length=max_length))
    assert plan.characters == len(text)
    at = 0
    for chunk in plan.chunks:
        assert chunk.first_character == at
        assert chunk.characters > 0
        at += chunk.characters
    assert at == len(text)
    for say in says(plan.chunks):
        assert 0 < len(say.utterance.text) <= max_length
        assert say.utterance.text == say.utterance.text.strip()
    assert not plan.chunks or len(plan.chunks) == 1 or all(chunk.items for chunk in plan.chunks)
    last = plan.chunks[-1].items if plan.chunks else ()
    assert not last or not isinstance(last[-1], Pause)


@given(TEXTS)
def test_equal_texts_have_equal_plans(text: str) -> None:
    controls = Controls(lexicon=(("hello", "hallo"),))
    assert plan_text(text, controls=controls) == plan_text(text, controls=controls)


@given(TEXTS)
def test_only_documents_without_speech_are_refused(text: str) -> None:
    if check_text(text) is None:
        assert said(text)


def test_the_first_two_sentences_are_chunks_of_their_own_and_later_ones_are_gathered() -> None:
    text = " ".join(f"This is sentence {number}." for number in range(40))
    plan = plan_text(text, controls=Controls(max_length=100, verbatim=True))
    parts = [text[chunk.first_character : chunk.first_character + chunk.characters] for chunk in plan.chunks]
    assert parts[0] == "This is sentence 0. "
    assert parts[1] == "This is sentence 1. "
    assert all(part.count(".") > 3 for part in parts[2:-1])
    assert all(len(part.strip()) <= 100 for part in parts)


def test_pauses_belong_to_the_chunk_before() -> None:
    plan = plan_text("One. Two.\n\nThree. Four.\nFive", controls=Controls())
    assert [script([chunk]) for chunk in plan.chunks] == [
        ["One.", 250],
        ["Two.", 600],
        ["Three.", 250, "Four.", 250, "Five"],
    ]


def test_no_pause_where_a_sentence_was_only_too_long() -> None:
    plan = plan_text("one two three four five six seven", controls=Controls(max_length=20))
    assert script(plan.chunks) == ["one two three four", "five six seven"]


def test_long_number_words_are_cut() -> None:
    pieces = said("9" * 300, Controls(max_length=100))
    assert all(len(piece) <= 100 for piece in pieces)
    assert " ".join(pieces).split() == ["nine"] * 300


@pytest.mark.parametrize("text", ["", "\n\n\r\n", "😀😀", "...", "*** ---"])
def test_texts_without_speech_have_no_items(text: str) -> None:
    plan = plan_text(text, controls=Controls())
    assert texts(plan.chunks) == []
    assert sum(chunk.characters for chunk in plan.chunks) == len(text)
    assert len(plan.chunks) == (1 if text else 0)


def test_silent_sentences_join_their_neighbours() -> None:
    text = "😀! Hello. 😀😀. World. 😀"
    plan = plan_text(text, controls=Controls())
    assert script(plan.chunks) == ["Hello.", 250, "World."]
    assert [chunk.characters for chunk in plan.chunks] == [len("😀! Hello. 😀😀. "), len("World. 😀")]


def test_inaudible_characters_are_removed() -> None:
    assert said("Hi 😀 there\u200b, you\ufeff!") == ["Hi there, you!"]
    assert said("one → two ♥ three ▶️ four ↔️ five ⬛ six‼️") == ["one two three four five six"]
    assert said("uno → dos ℹ️ ♥", Controls(language="es")) == ["uno dos"]
    assert said("a\u202eb\u2066c") == ["abc"]
    assert said("రామ్\u200cగోపాల్ 👨\u200d👩\u200d👧 వచ్చాడు") == ["రామ్\u200cగోపాల్ వచ్చాడు"]
    assert said("Ｈｅｌｌｏ １２ 𝐁𝐨𝐥𝐝") == ["Hello twelve Bold"]
    assert said("bad\x00\x07 \ud800 chars") == ["bad chars"]


def test_verbatim_leaves_figures_alone() -> None:
    assert said("Dr. Rao owes ₹500 & 5 km.", Controls(verbatim=True)) == ["Dr. Rao owes ₹500 & 5 km."]
    assert said("Dr. Rao owes ₹500 & 5 km.") == ["Doctor Rao owes five hundred rupees and five kilometres."]


def test_controls_reach_every_utterance() -> None:
    controls = Controls(voice="v", language="en-IN", prosody=Prosody(speed=1.5, pitch=-2, emphasis=1), volume_db=-6)
    for say in says(plan_text("One. Two.", controls=controls).chunks):
        assert say.utterance.voice == "v"
        assert say.utterance.language == "en-IN"
        assert say.utterance.prosody == Prosody(speed=1.5, pitch=-2, emphasis=1)
        assert say.volume_db == -6
        assert not say.utterance.spell


@pytest.mark.parametrize("max_length", [15, 10_001])
def test_utterances_have_bounds(max_length: int) -> None:
    with pytest.raises(ValueError, match=f"invalid max_length: {max_length}; must be 16 to 10,000"):
        Controls(max_length=max_length)

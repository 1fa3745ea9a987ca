"""Text that arrives in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import Chunk, Controls, IncrementalText, Pause, plan_text
from engines.voice.tests.text.plans import says, script, texts
from engines.voice.tests.text.test_plan_text import TEXTS


def fed(pieces: list[str], controls: Controls) -> list[Chunk]:
    stream = IncrementalText(controls=controls)
    chunks = [chunk for piece in pieces for chunk in stream.feed(piece)]
    return chunks + stream.flush()


@given(TEXTS, st.integers(16, 80), st.data())
def test_pieces_are_planned_like_the_whole(text: str, max_length: int, data: st.DataObject) -> None:
    controls = Controls(max_length=max_length)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=30)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = plan_text(text, controls=controls)
    chunks = fed(pieces, controls)
    assert says(chunks) == says(whole.chunks)
    assert script(chunks) == script(whole.chunks)


@given(TEXTS)
def test_character_by_character(text: str) -> None:
    assert says(fed(list(text), Controls())) == says(plan_text(text, controls=Controls()).chunks)


@given(TEXTS)
def test_chunks_follow_one_another_without_a_gap(text: str) -> None:
    at = 0
    for chunk in fed([text[at : at + 7] for at in range(0, len(text), 7)], Controls()):
        assert chunk.first_character == at
        assert texts([chunk])
        at += chunk.characters
    assert at <= len(text)
    assert not any(character.isalnum() and character.isascii() for character in text[at:])


def test_a_sentence_comes_after_its_end_and_a_space() -> None:
    stream = IncrementalText(controls=Controls())
    assert stream.feed("Hello") == []
    assert stream.feed(" there.") == []
    assert texts(stream.feed(" ")) == ["Hello there."]
    assert stream.feed("How are") == []
    assert texts(stream.feed(" you?\n")) == ["How are you?"]
    assert texts(stream.feed("నమస్కారం। తరువాత")) == ["నమస్కారం।"]


def test_possible_continuations_wait() -> None:
    stream = IncrementalText(controls=Controls())
    assert stream.feed("The U.S. ") == []
    assert stream.feed("te") == []
    assert stream.feed("am won") == []
    assert texts(stream.feed(". ")) == ["The U.S. team won."]
    assert stream.feed('He said "Go." ') == []
    assert texts(stream.feed("She")) == ['He said "Go."']


def test_a_text_without_marks_comes_when_it_is_too_long() -> None:
    stream = IncrementalText(controls=Controls(max_length=20))
    assert stream.feed("one two three, four") == []
    assert texts(stream.feed(" five six seven")) == ["one two three,"]
    assert texts(stream.flush()) == ["four five six seven"]


def test_flush_gives_the_rest_and_more_may_follow() -> None:
    stream = IncrementalText(controls=Controls())
    stream.feed("Done. And then")
    assert script(stream.flush()) == [250, "And then"]
    assert stream.flush() == []
    assert script([*stream.feed(" more. Last"), *stream.flush()]) == ["more.", 250, "Last"]


def test_pauses_come_before_the_sentence_that_follows() -> None:
    chunks = fed(["One.", " Two.\n", "\nThree"], Controls())
    assert [script([chunk]) for chunk in chunks] == [["One."], [250, "Two."], [600, "Three"]]


def test_dropped_text_is_neither_spoken_nor_counted() -> None:
    stream = IncrementalText(controls=Controls())
    first = stream.feed("One. Two is not ")
    assert texts(first) == ["One."]
    stream.drop()
    assert stream.flush() == []
    [chunk] = stream.feed("Three. ")
    assert script([chunk]) == ["Three."]
    assert chunk.first_character == len("One. Two is not ")
    assert chunk.characters == len("Three.")
    assert not any(isinstance(item, Pause) for item in chunk.items)


def test_dropping_in_the_middle_of_a_line_forgets_the_line() -> None:
    stream = IncrementalText(controls=Controls())
    stream.feed("This is a long line that somebody was still writing when")
    stream.drop()
    assert texts(stream.feed("Short\n")) == ["Short"]

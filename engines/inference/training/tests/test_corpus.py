"""The corpus is cleaned as promised, and held-out stories never reach the training part."""

from pathlib import Path

import pytest

from engines.inference.training.storymodel.corpus import (
    Document,
    clean_line,
    is_heading,
    is_held_out,
    load_corpus,
    parse_story,
    without_overlap,
    without_repeats,
)

STORY = """# The Blue Kite

##
Lila had a “blue” kite.
It flew over the pond.

##
* milk
* honey

##
* License: [CC-BY]
* Text: Somebody
* Illustration: Somebody Else
* Language: en
"""


def _document(text: str, number: int = 1) -> Document:
    return Document(source="x", language="en", title="x", paragraphs=(text,), number=number)


def test_credits_and_page_marks_are_stripped_but_lists_stay() -> None:
    title, paragraphs = parse_story(STORY)
    assert title == "The Blue Kite"
    assert paragraphs == ('Lila had a "blue" kite. It flew over the pond.', "* milk * honey")


def test_invisible_characters_and_entities_go() -> None:
    assert clean_line("\ufeffone\u200b&#160;two\t three ") == "one two three"


def test_the_joiner_that_telugu_spelling_needs_stays() -> None:
    assert clean_line("క్\u200cష") == "క్\u200cష"


@pytest.mark.parametrize(
    ("line", "heading"),
    [("CHAPTER IV.", True), ("XII", True), ("* * *", True), ("Chapter 3", True), ("She slept.", False)],
)
def test_headings(line: str, *, heading: bool) -> None:
    assert is_heading(line) is heading


def test_a_retelling_of_a_held_out_story_is_dropped() -> None:
    told = "one day the little boat sailed far away over the quiet sea to find the moon"
    held_out = [_document(told, number=3)]
    retelling = _document(f"Well, {told}, they say.")
    other = _document("a potter made nine pots and gave every one of them to his neighbour's goat")
    assert without_overlap([retelling, other], held_out) == [other]


def test_the_second_of_two_equal_stories_is_dropped() -> None:
    first = _document("a potter made nine pots and gave every one of them to the goat", number=1)
    second = _document("a potter made nine pots and gave every one of them to the goat", number=2)
    assert without_repeats([first, second]) == [first]


def test_no_held_out_number_is_trained_on(tmp_path: Path) -> None:
    for language in ("en", "te"):
        folder = tmp_path / f"stories_{language}"
        folder.mkdir()
        for number in range(1, 41):
            words = " ".join(f"{'w' * number}x{'y' * i}" for i in range(20))
            (folder / f"{number:04}_tale.md").write_text(f"# Tale\n\n##\n{words}\n", encoding="utf-8")
    corpus = load_corpus(tmp_path)
    trained = {s.number for s in corpus.stories_en + corpus.stories_te}
    kept_aside = {s.number for s in corpus.held_out}
    assert trained
    assert kept_aside == {number for number in range(1, 41) if is_held_out(number)}
    assert {s.language for s in corpus.held_out} == {"en", "te"}
    assert not trained & kept_aside

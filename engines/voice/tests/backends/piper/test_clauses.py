"""Long sentences in clauses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.piper._clauses import clauses


def cut(sentence: str) -> list[str]:
    return ["".join(clause) for clause in clauses(list(sentence))]


def test_a_short_sentence_stays_whole() -> None:
    assert cut("wˈʌn, tˈuː, θɹˈiː.") == ["wˈʌn, tˈuː, θɹˈiː."]
    assert cut("") == []


def test_a_long_sentence_begins_with_a_short_clause() -> None:
    sentence = f"{'a' * 10}, {'b' * 20}, {'c' * 40}, {'d' * 60}."
    assert cut(sentence) == [f"{'a' * 10}, {'b' * 20},", f"{'c' * 40}, {'d' * 60}."]


def test_a_few_words_at_the_end_are_no_clause_of_their_own() -> None:
    assert cut(f"{'a' * 120}, ænd sˈoʊ.") == [f"{'a' * 120}, ænd sˈoʊ."]


@given(st.text(alphabet="ab, ;.", max_size=3000))
def test_nothing_but_spaces_is_lost_and_no_part_is_long(sentence: str) -> None:
    parts = cut(sentence)
    assert "".join(parts).replace(" ", "") == sentence.replace(" ", "")
    assert all(0 < len(part) <= 400 for part in parts)

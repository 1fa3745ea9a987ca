"""Rewrite text by rules in one pass, so that no rule changes the output of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

Verbalize: TypeAlias = Callable[[re.Match[str]], str | None]
"""Returns the words for a match; None if it turns out to be something else."""

_NAMES = re.compile(r"\(\?P<\w+>")
_SPACES = re.compile(r"[^\S ]\s*| \s+")
_LOOSE_MARKS = re.compile(r" +(?=[,.;:!?।])")


class NormalizationRule(NamedTuple):
    """A form of text with its verbalization."""

    starts: str
    """The classes of its first character: "0" a digit, "a" a letter, "." another mark, " " white space, or several of
    them. Most rules are skipped at most places by it."""
    pattern: str
    """A regular expression that matches at least one character, names all its groups and has no back references. It is
    bounded, or starts at the beginning of a word, so that a text takes linear time."""
    say: Verbalize
    """The verbalization."""


class NormalizationRules:
    """Rewrites text: at each place the first rule that matches counts.

    Args:
        rules: the rules, in order.
        places: a regular expression for the places where a rule may match; others are skipped fast.
    """

    def __init__(self, rules: Sequence[NormalizationRule], *, places: str) -> None:
        self._places = re.compile(places)
        self._kinds = {kind: _RuleSet([rule for rule in rules if kind in rule.starts]) for kind in "0a. "}

    def apply(self, text: str) -> str:
        """Return the normalized text."""
        out, at = [], 0
        while (place := self._places.search(text, at)) is not None:
            start = place.start()
            found = self._kinds[_character_class(text[start])].apply(text, start)
            end, words = found or (start + 1, text[start])
            out += [text[at:start], words]
            at = end
        return "".join([*out, text[at:]])


def _character_class(character: str) -> str:
    if character in "0123456789":
        return "0"
    if character.isspace():
        return " "
    return "a" if character.isalpha() else "."


class _RuleSet:
    """The rules for one class of first characters."""

    def __init__(self, rules: Sequence[NormalizationRule]) -> None:
        self._rules = [(re.compile(rule.pattern), rule.say) for rule in rules]
        self._any = re.compile("|".join(f"({_NAMES.sub('(?:', rule.pattern)})" for rule in rules) or r"(?!)")

    def apply(self, text: str, start: int) -> tuple[int, str] | None:
        """Return the end of the match at `start` and its words; None if no rule applies."""
        found = self._any.match(text, start)
        if found is None:
            return None
        assert found.lastindex is not None
        for index in range(found.lastindex - 1, len(self._rules)):
            pattern, say = self._rules[index]
            match = pattern.match(text, start)
            if match is not None and (words := say(match)) is not None:
                return match.end(), words
        return None


def set_apart(match: re.Match[str], words: str) -> str:
    """Return the words, set off by spaces from letters and digits that touch the match."""
    text, start, end = match.string, match.start(), match.end()
    before = " " if start and text[start - 1].isalnum() else ""
    after = " " if end < len(text) and text[end].isalnum() else ""
    return f"{before}{words}{after}"


def keep_full_stop(match: re.Match[str], words: str) -> str:
    """Return the words, with a full stop if the match's own stop also ends the text."""
    return f"{words}." if match.group().endswith(".") and not match.string[match.end() :].strip() else words


def tidy(text: str) -> str:
    """Return the text with at most one space between words and none before a mark."""
    return _LOOSE_MARKS.sub("", _SPACES.sub(" ", text)).strip()

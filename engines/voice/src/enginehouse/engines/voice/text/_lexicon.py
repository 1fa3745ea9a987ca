"""The pronunciation lexicon of a request: words to replace before synthesis."""

from __future__ import annotations

import re
from collections.abc import Sequence

from enginehouse.engines.voice.text._characters import WORD

_TOKEN = re.compile(rf"[{WORD}]+|[^{WORD}\s]")


class Lexicon:
    """Replaces words, the longest entry first. Linear in the text, whatever the number of entries.

    Args:
        entries: written words and their spoken replacements. An entry matches whole words, ignoring case; of two
            entries for the same word the first counts. Blank entries match nothing.
    """

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self._replacements: dict[str, str] = {}
        lengths: dict[str, set[int]] = {}
        for word, say in entries:
            key = _fold(" ".join(word.split()))
            first = _TOKEN.match(key)
            if first is None or key in self._replacements:
                continue
            self._replacements[key] = say
            lengths.setdefault(first.group(), set()).add(len(key))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        """The lengths of the entries, by their first word."""

    def apply(self, text: str) -> str:
        """Return the text with its replacements. They are not looked up again."""
        if not self._replacements:
            return text
        folded = _fold(text)
        out, done = [], 0
        for token in _TOKEN.finditer(folded):
            at = token.start()
            if at < done:
                continue
            for length in self._lengths.get(token.group(), ()):
                end = at + length
                say = self._replacements.get(folded[at:end])
                if say is not None and _whole(folded, at, end):
                    out += [text[done:at], say]
                    done = end
                    break
        return "".join([*out, text[done:]])


_IN_WORD = re.compile(rf"[{WORD}]")


def _whole(text: str, start: int, end: int) -> bool:
    """Return whether `start` and `end` are word boundaries."""
    return not (
        (_in_word(text, start - 1) and _in_word(text, start)) or (_in_word(text, end - 1) and _in_word(text, end))
    )


def _in_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and _IN_WORD.match(text, at) is not None


def _fold(text: str) -> str:
    """Return the text in lower case with the same length: the few letters that would become two stay as they are."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)

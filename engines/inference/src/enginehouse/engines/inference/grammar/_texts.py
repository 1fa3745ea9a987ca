"""Sets of texts: patterns, formats, lengths, and what is left out of them."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse.engines.inference.grammar._automata import Automaton, of_expression
from enginehouse.engines.inference.grammar._expressions import Expression, Expressions, TooLarge
from enginehouse.engines.inference.grammar._formats import FORMATS, FREE_FORMATS, SAME_AS, sized_pattern
from enginehouse.engines.inference.grammar._lengths import with_lengths
from enginehouse.engines.inference.grammar._patterns import PatternError, pattern_expression
from enginehouse.engines.inference.grammar._references import SchemaError


class Texts:
    """A maker of the texts that one grammar's schemas speak of."""

    def __init__(self) -> None:
        self.expressions = Expressions()
        self._patterns: dict[tuple[str, bool], Expression] = {}
        self._automata: dict[tuple[int, int, int | None], Automaton | None] = {}

    def pattern(self, pattern: str, path: str, *, generous: bool = False) -> Expression:
        """Return the texts that match a pattern, in every reading or (`generous`) in any.

        Raises:
            SchemaError: the pattern cannot be enforced.
        """
        found = self._patterns.get((pattern, generous))
        if found is None:
            try:
                found = pattern_expression(self.expressions, pattern, generous=generous)
            except PatternError as error:
                raise SchemaError(path, f"pattern {pattern[:80]!r} {error}") from None
            self._patterns[pattern, generous] = found
        return found

    def unmatched(self, pattern: str, path: str) -> Expression:
        """Return the texts that a pattern does not match, in any reading."""
        return self.expressions.negated(self.pattern(pattern, path, generous=True))

    def format(self, name: str, path: str, *, described: bool = False, most: int | None = None) -> Expression:
        """Return texts that have a format.

        Args:
            most: the number of characters that there is room for, in formats whose parts share it.
            described: whether a pattern stands beside it, which is then all that an unknown name means.

        Raises:
            SchemaError: nothing is known of the format.
        """
        known = sized_pattern(SAME_AS.get(name, name), most)
        if known is not None:
            return self.pattern(known, path)
        if name in FREE_FORMATS or described:
            return self.expressions.texts
        raise SchemaError(
            path,
            f"format {name!r} cannot be enforced; leave it out, or write a pattern. Formats that can be: "
            f"{', '.join(sorted({*FORMATS, *SAME_AS, *FREE_FORMATS}))}",
        )

    def length(self, least: int, most: int | None) -> Expression:
        """Return texts of so many characters."""
        make = self.expressions
        return make.sequence(make.repeated(make.character, least, most), make.end)

    def exactly(self, texts: Iterable[str]) -> Expression:
        """Return these texts."""
        make = self.expressions
        return make.either(make.sequence(make.literal(text), make.end) for text in texts)

    def except_for(self, texts: Iterable[str]) -> Expression:
        """Return all texts but these."""
        return self.expressions.negated(self.exactly(texts))

    def accepts(self, expression: Expression, text: str) -> bool:
        """Return whether the text is one of these."""
        return self.expressions.accepts(expression, text)

    def automaton(
        self, expression: Expression, path: str, *, least: int = 0, most: int | None = None
    ) -> Automaton | None:
        """Return the automaton of texts, of so many characters; None if there are none.

        Raises:
            SchemaError: the automaton would be too large.
        """
        key = (expression.number, least, most)
        if key not in self._automata:
            try:
                found = of_expression(self.expressions, expression)
                if found is not None and (least or most is not None):
                    found = with_lengths(found, least, most)
            except TooLarge:
                description = "pattern, format and lengths together are too complex; simplify them"
                raise SchemaError(path, description) from None
            self._automata[key] = found
        return self._automata[key]

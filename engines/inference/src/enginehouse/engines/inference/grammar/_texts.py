"""Sets of texts: patterns, formats, lengths, and what is left out of them."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse.engines.inference.grammar._automata import Automaton, TooLarge, of_expression
from enginehouse.engines.inference.grammar._expressions import Expression, Expressions
from enginehouse.engines.inference.grammar._formats import FORMATS, FREE_FORMATS, SAME_AS
from enginehouse.engines.inference.grammar._patterns import PatternError, pattern_expression
from enginehouse.engines.inference.grammar._references import SchemaError

# The least length to which a text of a pattern is cut where its automaton would be too large.
_MIN_CUT = 32


class Texts:
    """A maker of the texts that one grammar's schemas speak of."""

    def __init__(self) -> None:
        self.expressions = Expressions()
        self._patterns: dict[tuple[str, bool], Expression] = {}
        self._automata: dict[int, Automaton | None] = {}

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
        make = self.expressions
        return make.both((make.texts, make.negated(self.pattern(pattern, path, generous=True))))

    def format(self, name: str, path: str, *, described: bool = False) -> Expression:
        """Return texts that have a format.

        Args:
            described: whether a pattern stands beside it, which is then all that an unknown name means.

        Raises:
            SchemaError: nothing is known of the format.
        """
        known = FORMATS.get(SAME_AS.get(name, name))
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
        make = self.expressions
        return make.both((make.texts, make.negated(self.exactly(texts))))

    def accepts(self, expression: Expression, text: str) -> bool:
        """Return whether the text is one of these."""
        return self.expressions.accepts(expression, text)

    def automaton(
        self, expression: Expression, path: str, *, least: int = 0, most: int | None = None
    ) -> Automaton | None:
        """Return the automaton of texts, of so many characters; None if there are none.

        Where a large `most` would make it too large, only shorter texts are written.

        Raises:
            SchemaError: the automaton would be too large.
        """
        while True:
            bounded = expression
            if least or most is not None:
                bounded = self.expressions.both((expression, self.length(least, most)))
            if bounded.number in self._automata:
                return self._automata[bounded.number]
            try:
                found = of_expression(self.expressions, bounded)
            except TooLarge:
                if most is None or most // 2 < max(least, _MIN_CUT):
                    description = "pattern, format and lengths together are too complex; simplify them"
                    raise SchemaError(path, description) from None
                most //= 2
                continue
            self._automata[bounded.number] = found
            return found

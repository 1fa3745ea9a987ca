"""GBNF for JSON schemas: every keyword is enforced, or the schema is refused with the place at fault.

The output may be bounded more than the schema asks, never less: members come in the order of the schema, an object that
lists its properties gets no others unless `additionalProperties` or `patternProperties` say so, and tuples are whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginehouse.engines.inference.grammar._arrays import array_body
from enginehouse.engines.inference.grammar._branches import Branch, Literal
from enginehouse.engines.inference.grammar._check import check_grammar, endless_rules
from enginehouse.engines.inference.grammar._evaluation import Evaluation, kind_of
from enginehouse.engines.inference.grammar._expressions import TooLarge
from enginehouse.engines.inference.grammar._gbnf import (
    NEEDS,
    PRIMITIVES,
    character_class,
    json_character,
    json_literal,
    one_of,
    repeat,
)
from enginehouse.engines.inference.grammar._joining import Joining
from enginehouse.engines.inference.grammar._keywords import KINDS
from enginehouse.engines.inference.grammar._numbers import OTHER, Bound, NumberError, exact, number_automaton
from enginehouse.engines.inference.grammar._objects import object_body
from enginehouse.engines.inference.grammar._references import CIRCLE, Document, SchemaError
from enginehouse.engines.inference.grammar._texts import Texts
from enginehouse.engines.inference.grammar.schemas import invalid_schema

MAX_RULES = 5000
_MAX_DEPTH = 90
_MAX_ROUNDS = 8
_ENDLESS = (
    "no value that ends satisfies the schema: it contains itself again and again; let it end, by a property that is "
    "not required, an array that may be empty, or null"
)
_TOO_DEEP = "the schema is nested too deeply; flatten it"
# Keywords that a list of alternatives may have beside it without changing them.
_NOTES = frozenset({"$defs", "definitions", "$schema", "$comment", "title", "description", "default", "examples",
                    "deprecated", "readOnly", "writeOnly", "discriminator"})  # fmt: skip


class Grammar:
    """The rules of one grammar."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._named = 0
        self._texts = Texts()

    def text(self, root: str) -> str:
        """Return the whole grammar, beginning with an expression."""
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]) + "\n"

    def expression(self, schema: dict[str, Any], *, field: str) -> str:
        """Return an expression for the JSON values that satisfy a schema.

        Args:
            schema: the schema's root, which its references point into.
            field: the request's field that it came in, for errors.

        Raises:
            ServiceError: INVALID_SCHEMA, naming the keyword at fault.
        """
        kept = dict(self._rules)
        empty: frozenset[frozenset[Literal]] = frozenset()
        try:
            document = Document(schema)
            for _ in range(_MAX_ROUNDS):
                self._rules = dict(kept)
                conversion = Conversion(self, document, self._texts, empty)
                found = conversion.value([Literal(document.root)])
                if found is None:
                    raise SchemaError("#", _ENDLESS if empty else "no value satisfies the schema")
                endless = endless_rules(self.text(found), field=field)
                if not endless:
                    return found
                without_end = conversion.states_of(endless)
                if not without_end or without_end <= empty:
                    break
                empty |= without_end
            raise SchemaError("#", _ENDLESS)
        except SchemaError as error:
            raise invalid_schema(field, str(error)) from None
        except TooLarge:
            too_complex = SchemaError("#", "patterns and names together are too complex; simplify them")
            raise invalid_schema(field, str(too_complex)) from None
        except RecursionError:
            raise invalid_schema(field, str(SchemaError("#", _TOO_DEEP))) from None

    def rule(self, body: str) -> str:
        """Add a rule and return its name."""
        name = self.reserve()
        self._rules[name] = body
        return name

    def primitive(self, name: str) -> str:
        """Add a primitive and those that it needs, and return its name."""
        if name not in self._rules:
            self._rules[name] = PRIMITIVES[name]
            for needed in NEEDS.get(name, ()):
                self.primitive(needed)
        return name

    def reserve(self) -> str:
        """Return the name of a new rule, whose body follows by `define`."""
        if len(self._rules) >= MAX_RULES:
            raise SchemaError("#", f"the schema needs over {MAX_RULES} rules of grammar; simplify it")
        name = f"r{self._named}"
        self._named += 1
        self._rules[name] = ""
        return name

    def discard(self, name: str) -> None:
        """Remove a rule that no other names."""
        del self._rules[name]

    def define(self, name: str, body: str) -> None:
        """Set the body of a reserved rule."""
        self._rules[name] = body


def schema_grammar(schema: dict[str, Any], *, field: str) -> str:
    """Return the grammar of the JSON texts that satisfy a schema; raise INVALID_SCHEMA, naming the keyword at fault."""
    grammar = Grammar()
    text = grammar.text(grammar.expression(schema, field=field))
    check_grammar(text, field=field)
    return text


class Conversion:
    """The conversion of one schema document.

    Args:
        grammar: takes the rules.
        document: the schema.
        texts: makes its texts.
        empty: sets of schemas that no finite value satisfies together.
    """

    def __init__(
        self, grammar: Grammar, document: Document, texts: Texts, empty: frozenset[frozenset[Literal]]
    ) -> None:
        self.grammar = grammar
        self.texts = texts
        self.evaluation = Evaluation(document, self.texts)
        self.joining = Joining(document, self.evaluation, self.texts)
        self._document = document
        self._empty = empty
        self._done: dict[frozenset[Literal], str | None] = {}
        self._begun: dict[frozenset[Literal], str] = {}
        self._used: set[frozenset[Literal]] = set()
        self._endless: dict[frozenset[Literal], str] = {}
        self._automata: dict[object, str | None] = {}
        self._depth = 0

    def states_of(self, rules: frozenset[str]) -> frozenset[frozenset[Literal]]:
        """Return the sets of schemas whose rules these are."""
        named = {**self._endless, **{state: name for state, name in self._done.items() if name is not None}}
        return frozenset(state for state, name in named.items() if name in rules)

    def value(self, literals: Sequence[Literal], through: tuple[frozenset[Literal], ...] = ()) -> str | None:
        """Return an expression for the values that satisfy all of the schemas; None if there are none.

        Args:
            literals: the schemas.
            through: the sets of schemas of which this is a mere alternative.

        Raises:
            SchemaError: a schema that cannot be enforced.
        """
        wanted = self._distinct(literals)
        if wanted is None:
            return None
        if not wanted:
            return self.grammar.primitive("value")
        state = frozenset(wanted)
        if state in self._empty:
            return None
        if state in self._done:
            return self._done[state]
        if state in self._begun:
            if state in through:
                raise SchemaError(wanted[0].place.path, CIRCLE)
            self._used.add(state)
            return self._begun[state]
        if self._depth > _MAX_DEPTH:
            raise SchemaError(wanted[0].place.path, _TOO_DEEP)
        self._begun[state] = name = self.grammar.reserve()
        self._depth += 1
        body = self._body(wanted, (*through, state))
        self._depth -= 1
        del self._begun[state]
        if body is None:
            self._done[state] = None
            if state in self._used:
                # Whatever named the rule meanwhile has no end: the next round knows that the state is empty.
                self.grammar.define(name, name)
                self._endless[state] = name
            else:
                self.grammar.discard(name)
            return None
        self.grammar.define(name, body)
        self._done[state] = name
        return name

    def _distinct(self, literals: Sequence[Literal]) -> list[Literal] | None:
        """Return the schemas without those that anything satisfies; None if nothing satisfies one."""
        found: dict[Literal, None] = {}
        for literal in literals:
            literal = self._target(literal)
            if isinstance(literal.place.value, bool):
                if literal.place.value != literal.positive:
                    return None
            elif literal.place.value or not literal.positive:
                if not literal.positive and not literal.place.value:
                    return None
                found[literal] = None
        if any(literal.opposite in found for literal in found):
            return None
        return list(found)

    def _target(self, literal: Literal) -> Literal:
        """Return the schema that a bare reference leads to, so that what refers to the same is the same."""
        for _ in range(_MAX_DEPTH):
            value = literal.place.value
            if not isinstance(value, dict) or "$ref" not in value or value.keys() - _NOTES != {"$ref"}:
                return literal
            literal = Literal(self._document.resolve(literal.place), literal.positive)
        raise SchemaError(literal.place.path, CIRCLE)

    def _body(self, literals: list[Literal], through: tuple[frozenset[Literal], ...]) -> str | None:
        [first, *more] = literals
        value = first.place.value
        if not more and first.positive and isinstance(value, dict) and value.keys() - _NOTES == {"anyOf"}:
            # Each alternative keeps its own rules, which others may share.
            words = self.evaluation.keywords(first.place)
            options = [self.value([Literal(part)], through) for part in words.any_of]
            known = [option for option in options if option is not None]
            return one_of(known) if known else None
        lost: list[str] = []
        options = []
        for branch in self.joining.branches(literals, lost):
            options.append(self._branch(branch))
            lost += branch.lost
        known = [option for option in options if option is not None]
        if known:
            return one_of(known)
        deliberate = value is False or (isinstance(value, dict) and value.get("not") in ({}, True))
        if not more and first.positive and not deliberate:
            reasons = "; ".join(dict.fromkeys(lost)) or "its keywords contradict each other"
            raise SchemaError(first.place.path, f"no value satisfies it: {reasons}")
        return None

    def _branch(self, branch: Branch) -> str | None:
        if branch.values is not None:
            return one_of(json_literal(value) for value in branch.values)
        if self._is_free(branch):
            return self.grammar.primitive("value")
        options = []
        for kind in branch.kinds:
            found = self._kind(branch, kind)
            if found is not None:
                options.append(found)
        return one_of(options) if options else None

    def _is_free(self, branch: Branch) -> bool:
        return (
            set(branch.kinds) == set(KINDS)
            and not branch.hints
            and not branch.excluded
            and not (branch.bounds or branch.multiples or branch.texts or branch.contains or branch.members)
            and not (branch.min_length or branch.max_length is not None or branch.items or branch.forbidden)
            and not (branch.min_items or branch.max_items is not None or branch.required or branch.min_properties)
            and branch.max_properties is None
        )

    def _kind(self, branch: Branch, kind: str) -> str | None:
        if kind == "object":
            return object_body(self, branch)
        if kind == "array":
            return array_body(self, branch)
        if kind == "string":
            return self._string(branch)
        if kind == "number":
            return self._number(branch)
        if kind == "boolean":
            left = [value for value in (True, False) if not any(value is other for other in branch.excluded)]
            return self.grammar.primitive("boolean") if len(left) == 2 else json_literal(left[0]) if left else None
        return self.grammar.primitive("null")

    def _string(self, branch: Branch) -> str | None:
        excluded = [value for value in branch.excluded if isinstance(value, str)]
        texts = list(branch.texts)
        if excluded:
            texts.append(self.texts.except_for(excluded))
        if not texts:
            if branch.min_length > 1000:
                raise SchemaError(
                    branch.path, f"minLength {branch.min_length} is over 1000, the most that is enforced; ask for less"
                )
            if not branch.min_length and branch.max_length is None:
                return self.grammar.primitive("string")
            char = self.grammar.primitive("char")
            return rf'"\"" {repeat(char, branch.min_length, branch.max_length)} "\""'
        return self.text_rule(
            self.texts.expressions.both(texts),
            branch.path,
            least=branch.min_length,
            most=branch.max_length,
            lost=branch.lost,
        )

    def text_rule(
        self, expression: Any, path: str, *, least: int = 0, most: int | None = None, lost: list[str]
    ) -> str | None:
        """Return an expression for JSON strings whose text is one of these; None if there are none."""
        key = ("text", expression.number, least, most)
        if key not in self._automata:
            automaton = self.texts.automaton(expression, path, least=least, most=most)
            inside = None if automaton is None else automaton.write(self.grammar, json_character)
            self._automata[key] = None if inside is None else self.grammar.rule(rf'"\"" {inside} "\""')
        if self._automata[key] is None:
            lost.append("no text satisfies pattern, format and lengths together")
        return self._automata[key]

    def _number(self, branch: Branch) -> str | None:
        excluded = [value for value in branch.excluded if kind_of(value) == "number"]
        if not (branch.bounds or branch.multiples or excluded):
            return self.grammar.primitive("integer" if branch.whole else "number")
        bounds = [*branch.bounds, *(Bound(exact(value), OTHER) for value in excluded)]
        key = ("number", frozenset(bounds), frozenset(branch.multiples), branch.whole)
        if key not in self._automata:
            try:
                automaton = number_automaton(bounds, branch.multiples, whole=branch.whole)
            except (TooLarge, NumberError) as error:
                reason = str(error) or "bounds and multipleOf together are too complex; simplify them"
                raise SchemaError(branch.path, reason) from None
            self._automata[key] = None if automaton is None else automaton.write(self.grammar, character_class)
        if self._automata[key] is None:
            branch.lost.append("no number is within its bounds")
        return self._automata[key]

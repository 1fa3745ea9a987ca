"""Joining of schemas that must hold together into branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from enginehouse.engines.inference.grammar._branches import (
    Branch,
    Contains,
    Items,
    Literal,
    Members,
    Step,
    smaller,
)
from enginehouse.engines.inference.grammar._evaluation import Evaluation, identity
from enginehouse.engines.inference.grammar._keywords import Keywords
from enginehouse.engines.inference.grammar._negation import Option, denials, forbid, need
from enginehouse.engines.inference.grammar._references import CIRCLE, Document, SchemaError, SchemaPlace
from enginehouse.engines.inference.grammar._texts import Texts

_MAX_FORKS = 10_000
_MAX_DEPTH = 5
_MAX_CHAIN = 64


@dataclass(frozen=True, slots=True)
class _Task:
    """A literal that is to be joined to a branch."""

    literal: Literal
    groups: frozenset[int] = frozenset()
    chain: tuple[Literal, ...] = ()
    """The schemas that lead here without a step into the value."""


@dataclass(frozen=True, slots=True)
class _Apart:
    """Alternatives of a oneOf that must not hold beside the one chosen."""

    tasks: Sequence[_Task]


_Work = _Task | _Apart | Step


@dataclass(slots=True)
class _Path:
    """A branch on the way."""

    branch: Branch
    tasks: list[_Work]
    splits: list[list[list[_Work]]] = field(default_factory=list)
    """Choices that are still to be made."""
    others: list[_Task] = field(default_factory=list)
    """Alternatives of a oneOf that must not hold beside the one chosen."""

    def fork(self, option: Sequence[_Work]) -> _Path:
        return _Path(self.branch.fork(), list(option), list(self.splits), list(self.others))


class Joining:
    """A joiner of the schemas of one document."""

    def __init__(self, document: Document, evaluation: Evaluation, texts: Texts) -> None:
        self._document = document
        self._evaluation = evaluation
        self._texts = texts
        self._groups = 0
        self._forks = 0

    def branches(self, literals: Sequence[Literal], lost: list[str]) -> list[Branch]:
        """Return the ways in which a value satisfies all of the schemas, without those that plainly cannot be.

        Args:
            lost: takes the reasons why others cannot be.

        Raises:
            SchemaError: a schema that cannot be enforced.
        """
        self._forks = 0
        start = Branch(path=literals[0].place.path)
        found = self._alive(literals, start, _MAX_DEPTH)
        lost += start.lost
        return found

    def may_hold(self, literals: Sequence[Literal], depth: int = _MAX_DEPTH) -> bool:
        """Return false if no value can satisfy all of the schemas, as far as that is plain to see."""
        return depth <= 0 or bool(self._alive(literals, Branch(path=literals[0].place.path), depth))

    def _alive(self, literals: Sequence[Literal], start: Branch, depth: int) -> list[Branch]:
        found = []
        for branch in self._all(literals, start, depth):
            if self._is_alive(branch, depth):
                found.append(branch)
            else:
                start.lost += branch.lost
        return found

    def _all(self, literals: Sequence[Literal], start: Branch, depth: int) -> Iterator[Branch]:
        waiting = [_Path(start, [_Task(literal) for literal in literals])]
        while waiting:
            path = waiting.pop()
            self._forks += 1
            if self._forks > _MAX_FORKS:
                raise SchemaError(start.path, "anyOf, oneOf, not and if combine in too many ways; simplify them")
            while path.tasks:
                task = path.tasks.pop(0)
                if isinstance(task, _Task):
                    self._join(path, task)
                elif isinstance(task, _Apart):
                    path.others += task.tasks
                else:
                    task(path.branch)
            path.branch.tighten()
            if not path.branch.kinds:
                start.lost += [reason for reason in path.branch.lost if reason not in start.lost]
                continue
            if path.splits:
                options, path.splits = path.splits[0], path.splits[1:]
                waiting += [path.fork(option) for option in reversed(options)]
                continue
            if not path.branch.typed and path.branch.hints and not path.branch.values:
                # Without a type, a schema means the type that its keywords speak of.
                path.branch.restrict([kind for kind in path.branch.kinds if kind in path.branch.hints])
            if path.others:
                self._keep_apart(path, depth)
            if path.tasks:
                waiting.append(path)
                continue
            yield path.branch

    def _keep_apart(self, path: _Path, depth: int) -> None:
        """Deny the alternatives that must not hold beside the one chosen, but for those that cannot hold anyway."""
        others, path.others = path.others, []
        if path.branch.values is not None:
            # The values are checked by the whole schema.
            return
        closed = path.branch.fork()
        closed.close()
        for other in others:
            if depth <= 0 or self._alive([other.literal], closed.fork(), depth - 1):
                path.tasks.append(_Task(other.literal.opposite, other.groups, other.chain))

    def _is_alive(self, branch: Branch, depth: int) -> bool:
        if branch.values is not None:
            branch.values = tuple(value for value in branch.values if self._all_hold(value, branch.facts))
            if not branch.values:
                branch.lost.append("no value of enum or const satisfies the keywords beside it")
            return bool(branch.values)
        if branch.is_strange:
            branch.without("object", "it would need a property that the schema does not list")
        if "object" in branch.kinds and depth > 0:
            for name in branch.required:
                literals = branch.member(name, self._evaluation)
                if literals and not self.may_hold(literals, depth - 1):
                    branch.without("object", f"nothing satisfies the property {name!r}, which is needed")
        return bool(branch.kinds)

    def _all_hold(self, value: object, facts: Sequence[Literal]) -> bool:
        return all(
            self._evaluation.satisfies(value, fact.place, generous=not fact.positive) == fact.positive for fact in facts
        )

    def _join(self, path: _Path, task: _Task) -> None:
        literal, branch = task.literal, path.branch
        value = literal.place.value
        if isinstance(value, bool):
            if value != literal.positive:
                branch.kinds = ()
                branch.lost.append(
                    "the schema false allows nothing" if literal.positive else "not of true allows nothing"
                )
            return
        if literal in task.chain or len(task.chain) > _MAX_CHAIN:
            raise SchemaError(literal.place.path, CIRCLE)
        words = self._evaluation.keywords(literal.place)
        branch.facts += (literal,)
        chain = (*task.chain, literal)
        if not literal.positive:
            options, lost = denials(words, self._document, self._texts)
            branch.lost += lost
            path.splits.append([self._option(option, frozenset(), chain) for option in options])
            return
        groups = task.groups
        for place, kind in ((words.unevaluated_properties, "p"), (words.unevaluated_items, "i")):
            if place is not None:
                self._groups += 1
                groups |= {self._groups}
                pair = (Literal(place), self._groups)
                if kind == "p":
                    branch.unevaluated_properties += (pair,)
                else:
                    branch.unevaluated_items += (pair,)
        self._require(branch, words, groups)
        self._compose(path, words, groups, chain)

    def _option(self, option: Option, groups: frozenset[int], chain: tuple[Literal, ...]) -> list[_Work]:
        return [_Task(part, groups, chain) if isinstance(part, Literal) else part for part in option]

    def _compose(self, path: _Path, words: Keywords, groups: frozenset[int], chain: tuple[Literal, ...]) -> None:
        def task(place: SchemaPlace, *, positive: bool = True) -> _Task:
            return _Task(Literal(place, positive), groups, chain)

        if words.reference is not None:
            path.tasks.append(task(self._document.resolve(words.place, words.reference)))
        path.tasks += [task(part) for part in words.all_of]
        if words.negation is not None:
            path.tasks.append(task(words.negation, positive=False))
        if words.any_of:
            path.splits.append([[task(part)] for part in words.any_of])
        if words.one_of:
            self._one_of(path, [task(part) for part in words.one_of])
        if words.condition is not None and (words.consequence or words.otherwise):
            then, otherwise = words.consequence, words.otherwise
            path.splits.append(
                [
                    [task(words.condition), *([task(then)] if then else [])],
                    [task(words.condition, positive=False), *([task(otherwise)] if otherwise else [])],
                ]
            )
        for name, others in words.needed.items():
            path.splits.append([[need(name, *others)], [forbid(name)]])
        for name, schema in words.dependent.items():
            path.splits.append([[need(name), task(schema)], [forbid(name)]])

    def _one_of(self, path: _Path, tasks: list[_Task]) -> None:
        def choosing(index: int) -> list[_Work]:
            others = [task for at, task in enumerate(tasks) if at != index]
            return [tasks[index], _Apart(others)]

        path.splits.append([choosing(index) for index in range(len(tasks))])

    def _require(self, branch: Branch, words: Keywords, groups: frozenset[int]) -> None:
        """Add the keywords of one schema object, but those that combine others."""
        branch.hints |= words.hints
        if words.types:
            branch.typed = True
            branch.restrict(["number" if kind == "integer" else kind for kind in words.types])
            branch.kinds = tuple(dict.fromkeys(branch.kinds))
            branch.whole = branch.whole or ("integer" in words.types and "number" not in words.types)
        for values in (words.values, words.constant):
            if values is not None:
                known = None if branch.values is None else set(map(identity, branch.values))
                branch.values = tuple(value for value in values if known is None or identity(value) in known)
        branch.bounds += words.bounds
        if words.multiple is not None:
            branch.multiples += (words.multiple,)
        self._require_text(branch, words)
        if words.first_items or words.items is not None:
            first = tuple(map(Literal, words.first_items))
            branch.items += (Items(first, Literal(words.items) if words.items else None, groups),)
        if words.min_items is not None:
            branch.min_items = max(words.min_items, branch.min_items or 0)
        branch.max_items = smaller(branch.max_items, words.max_items)
        branch.unique = branch.unique or words.unique
        if words.contains is not None and (words.min_contains or words.max_contains is not None):
            branch.contains += (Contains(Literal(words.contains), words.min_contains, words.max_contains),)
        if words.properties is not None or words.patterns or words.additional is not None:
            members = Members(
                properties={name: Literal(place) for name, place in (words.properties or {}).items()},
                patterns={pattern: Literal(place) for pattern, place in words.patterns.items()},
                additional=Literal(words.additional) if words.additional else None,
                listed=words.properties is not None,
                groups=groups,
                path=words.place.path,
            )
            branch.members += (members,)
        branch.required = tuple(dict.fromkeys((*branch.required, *words.required)))
        branch.min_properties = max(branch.min_properties, words.min_properties)
        branch.max_properties = smaller(branch.max_properties, words.max_properties)
        if words.names is not None:
            branch.names += (Literal(words.names),)

    def _require_text(self, branch: Branch, words: Keywords) -> None:
        branch.min_length = max(branch.min_length, words.min_length)
        branch.max_length = smaller(branch.max_length, words.max_length)
        if words.pattern is not None:
            branch.texts += (self._texts.pattern(words.pattern, words.place.path),)
        if words.format is not None:
            described = words.pattern is not None
            branch.texts += (
                self._texts.format(words.format, words.place.path, described=described, most=words.max_length),
            )

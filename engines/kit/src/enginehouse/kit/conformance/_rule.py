"""One rule of the engine protocol: its id, what it says, what it needs, and the check that engines pass or fail."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from enginehouse.kit.conformance._session import Session

Check: TypeAlias = "Callable[[Session], Awaitable[None]]"


class Need(enum.Enum):
    """Something that a rule cannot be checked without. A rule that lacks a need is skipped, with the reason."""

    METHODS = "methods"
    """The service's methods, from reflection."""
    KEYS = "keys"
    """The keys that the engine verifies grants with."""
    ROUTER = "router"
    """The engine reports its usage to the suite."""
    GATEWAY = "gateway"
    """The engine registers with the suite."""
    PROCESS = "process"
    """The suite starts the engine, and may stop and kill it."""
    EXAMPLE = "example"
    """A request that the engine answers."""
    PAID_EXAMPLE = "paid example"
    """A request that a model answers, and that uses units."""
    STREAM = "stream"
    """A paid request whose answer is streamed."""
    HTTP_BODY = "http body"
    """A method that takes `google.api.HttpBody`."""
    MESSAGE_LIMIT = "message limit"
    """The size of the largest message that the engine takes."""


class Failed(Exception):
    """The engine breaks the rule; the text says how."""


class Inapplicable(Exception):
    """The rule cannot be checked on this engine; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConformanceRule:
    """One rule.

    Attributes:
        id: `family.name`, stable.
        title: a few words.
        sentence: the rule in one plain sentence.
        needs: what it cannot be checked without.
        scenario: the scenario that it looks at, together with the other rules of its family; empty for none.
        check: raises `Failed` where the engine breaks the rule, `Inapplicable` where that cannot be told.
    """

    id: str
    title: str
    sentence: str
    needs: frozenset[Need]
    check: Check
    scenario: str = ""

    def __str__(self) -> str:
        return self.id


class RuleFamily:
    """Collects the rules of one file, in order.

    Args:
        name: the first half of the rules' ids.
        scenario: the scenario that all rules of the family look at.
    """

    def __init__(self, name: str, *, scenario: str = "") -> None:
        self._name = name
        self._scenario = scenario
        self.rules: list[ConformanceRule] = []

    def rule(self, name: str, title: str, sentence: str, *needs: Need) -> Callable[[Check], Check]:
        """Return a decorator that adds the check of a rule."""

        def add(check: Check) -> Check:
            self.rules.append(
                ConformanceRule(
                    id=f"{self._name}.{name}",
                    title=title,
                    sentence=sentence,
                    needs=frozenset(needs),
                    check=check,
                    scenario=self._scenario,
                )
            )
            return check

        return add


class RuleVerdict(enum.Enum):
    """The outcome of one rule."""

    PASSED = "ok"
    FAILED = "FAIL"
    SKIPPED = "skip"


@dataclasses.dataclass(frozen=True, slots=True)
class RuleResult:
    """The outcome of one rule on one engine.

    Attributes:
        rule: the rule.
        verdict: passed, failed or skipped.
        reason: how the engine broke the rule, or why the rule was skipped; empty where it passed.
        seconds: how long the check took.
    """

    rule: ConformanceRule
    verdict: RuleVerdict
    reason: str
    seconds: float


def expect(holds: object, failure: str) -> None:
    """Fail the rule unless the condition holds."""
    if not holds:
        raise Failed(failure)


def failures(results: Iterable[RuleResult]) -> list[RuleResult]:
    """The failed rules."""
    return [result for result in results if result.verdict is RuleVerdict.FAILED]

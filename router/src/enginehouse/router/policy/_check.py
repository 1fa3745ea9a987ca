"""Validation of policy documents: every problem, the field that has it, and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import FieldViolation
from enginehouse.router.policy._document import PolicyDocument
from enginehouse.router.policy._policy import DEFAULT
from enginehouse.router.policy._route import LABEL, policy_tasks, tasks_of
from enginehouse.router.policy._rules import PolicyRules

_MAX_BYTES = 256 << 10
_MAX_SIZES = {"tenants": 1000, "keys": 1000, "subjects": 64, "keywords": 256, "description": 512}
_MAX_HALF_LIFE_DAYS = 365
_MAX_PRIOR_WEIGHT = 10_000
# Characters that a keyword must not have, because prompts are split into words at them.
_NOT_IN_WORDS = frozenset(" \t\n\r\v\f!\"#$%&'(),./:;<=>?@[\\]^`{|}~")


def problems(
    message: policy_pb2.Policy,
    *,
    catalog: Catalog,
    contracts: Contracts,
    tiers: Mapping[str, PolicyRules],
    keys: Mapping[str, str],
    tenants: Iterable[str],
) -> list[FieldViolation]:
    """Return the problems of a document; none if it may be set.

    Args:
        message: the document.
        catalog: the models that exist.
        contracts: the tasks that exist.
        tiers: the configuration's rules, by tier.
        keys: those of the document's keys that exist, with their tenants' tiers.
        tenants: those of the document's tenants that exist.
    """
    if message.ByteSize() > _MAX_BYTES:
        return [FieldViolation("policy", f"{message.ByteSize()} bytes are too many; write at most {_MAX_BYTES}")]
    check = _Check(catalog, contracts)
    found = list(check.document(message, tiers=tiers, keys=keys, tenants=frozenset(tenants)))
    if not found:
        # Contradictions can only be found in a document whose parts are valid.
        found = list(_contradictions(message, catalog, contracts, tiers, keys))
    return found


class _Check:
    """Checks parts of a document against the catalog."""

    def __init__(self, catalog: Catalog, contracts: Contracts) -> None:
        self._tasks = policy_tasks(contracts)
        self._catalog = catalog
        self._clusters = {model.name: model.cluster for model in catalog.models}
        self._regions = sorted({model.region for model in catalog.models if model.region})

    def document(
        self,
        message: policy_pb2.Policy,
        *,
        tiers: Mapping[str, PolicyRules],
        keys: Mapping[str, str],
        tenants: frozenset[str],
    ) -> Iterator[FieldViolation]:
        """Yield all problems but contradictions."""
        if not LABEL(message.name):
            yield FieldViolation(
                "name", f"{message.name[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter, such as {DEFAULT!r}"
            )
        if len(message.description) > _MAX_SIZES["description"]:
            yield FieldViolation(
                "description", f"{len(message.description)} characters are too many; write at most 512"
            )
        if message.name == DEFAULT and message.tenants:
            yield FieldViolation(
                "tenants", f"{DEFAULT!r} applies to every tenant without a document of its own; leave them out"
            )
        if message.name != DEFAULT and not message.tenants:
            yield FieldViolation(
                "tenants", f"no tenants; name those that it applies to (only {DEFAULT!r} is for all others)"
            )
        yield from _named("tenants", message.tenants, tenants, "a tenant's id; list them with ListTenants")
        yield from _named("tiers", [entry.tier for entry in message.tiers], tiers, _one_of(tiers))
        yield from _named("tasks", [entry.task for entry in message.tasks], self._tasks, _one_of(self._tasks))
        yield from _named("keys", [entry.key_id for entry in message.keys], keys, "a key's id; list them with ListKeys")
        for field, rules in sections(message):
            yield from self._rules(field, rules)
        yield from self._subjects(message)
        yield from self._fallbacks(message)
        yield from _bandit(message.bandit)

    def _rules(self, field: str, rules: policy_pb2.Rules) -> Iterator[FieldViolation]:
        for name in ("quality_floor", "quality_ceiling", "sufficiency"):
            value = getattr(rules, name)
            if rules.HasField(name) and not 0 <= value <= 1:
                yield FieldViolation(f"{field}.{name}", f"{value} must be from 0 to 1")
        if rules.HasField("sufficiency") and rules.sufficiency == 0:
            yield FieldViolation(f"{field}.sufficiency", "0 lets any model suffice; write more than 0, or leave it out")
        if rules.HasField("max_first_token_ms") and rules.max_first_token_ms <= 0:
            yield FieldViolation(
                f"{field}.max_first_token_ms",
                f"{rules.max_first_token_ms} must be over 0 milliseconds; leave it out for no bound",
            )
        for name, models in (("models", rules.models), ("deny", rules.deny), ("prefer", rules.prefer)):
            yield from self._known(f"{field}.{name}", models)
        for region in rules.regions:
            if region not in self._regions:
                known = ", ".join(self._regions) or "none: give models a region in the catalog"
                yield FieldViolation(
                    f"{field}.regions", f"no model of the catalog is in {region[:64]!r}; regions: {known}"
                )
        for name, models in (("models", rules.models), ("prefer", rules.prefer)):
            both = sorted(set(models) & set(rules.deny))
            if both:
                yield FieldViolation(
                    f"{field}.{name}", f"{', '.join(both)} is both in {name} and in deny; remove it from one"
                )

    def _known(self, field: str, models: Sequence[str]) -> Iterator[FieldViolation]:
        for name in models:
            if self._catalog.get(name) is None:
                yield FieldViolation(field, self._catalog.absence(name))
        for name in _twice(models):
            yield FieldViolation(field, f"{name!r} occurs twice; remove one")

    def _subjects(self, message: policy_pb2.Policy) -> Iterator[FieldViolation]:
        yield from _named("subjects", [entry.name for entry in message.subjects], None, "")
        for entry in message.subjects:
            field = f"subjects.{entry.name[:64]}"
            if not LABEL(entry.name):
                yield FieldViolation(
                    "subjects", f"{entry.name[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter"
                )
            yield from self._known(f"{field}.specialists", entry.specialists)
            if len(entry.keywords) > _MAX_SIZES["keywords"]:
                yield FieldViolation(
                    f"{field}.keywords", f"{len(entry.keywords)} keywords are too many; write at most 256"
                )
            for word in entry.keywords:
                if not word or word != word.lower() or _NOT_IN_WORDS.intersection(word):
                    yield FieldViolation(
                        f"{field}.keywords", f"{word[:64]!r} must be a single word in lower case, without punctuation"
                    )
            for word in _twice(entry.keywords):
                yield FieldViolation(f"{field}.keywords", f"{word!r} occurs twice; remove one")
            if not 0 <= entry.keywords_needed <= len(entry.keywords):
                yield FieldViolation(
                    f"{field}.keywords_needed",
                    f"{entry.keywords_needed} must be from 0 to the number of keywords, {len(entry.keywords)}",
                )

    def _fallbacks(self, message: policy_pb2.Policy) -> Iterator[FieldViolation]:
        yield from self._known("fallbacks", [entry.model for entry in message.fallbacks])
        for entry in message.fallbacks:
            field = f"fallbacks.{entry.model[:128]}"
            yield from self._known(f"{field}.models", entry.models)
            for name in entry.models:
                there, here = self._clusters.get(name), self._clusters.get(entry.model)
                if there and here and there != here:
                    yield FieldViolation(
                        f"{field}.models",
                        f"{name!r} runs in the cluster {there} and {entry.model!r} in {here}; a request stays in one",
                    )
            if not entry.models:
                yield FieldViolation(f"{field}.models", "no models; name at least one model, or leave the entry out")
            factor = entry.max_price_factor
            if entry.HasField("max_price_factor") and not (factor >= 1 and math.isfinite(factor)):
                yield FieldViolation(
                    f"{field}.max_price_factor", f"{factor} must be at least 1; leave it out for any price"
                )
        cycle = find_cycle({entry.model: list(entry.models) for entry in message.fallbacks})
        if cycle:
            yield FieldViolation("fallbacks", f"{' -> '.join(cycle)} is a cycle; remove one of its steps")


def sections(message: policy_pb2.Policy) -> Iterator[tuple[str, policy_pb2.Rules]]:
    """Yield every set of rules in a document, with its field."""
    yield "everyone", message.everyone
    for tier in message.tiers:
        yield f"tiers.{tier.tier[:64]}", tier.rules
    for task in message.tasks:
        yield f"tasks.{task.task[:64]}", task.rules
    for subject in message.subjects:
        yield f"subjects.{subject.name[:64]}.rules", subject.rules
    for key in message.keys:
        yield f"keys.{key.key_id[:64]}", key.rules


def find_cycle(steps: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a cycle of a graph, with its first node again at its end; empty if there is none."""
    done: set[str] = set()
    for start in steps:
        # Depth first without recursion: the path to the node, and the nodes still to try from each node on it.
        path, left = [start], [iter(steps[start])]
        while path:
            node = next(left[-1], None)
            if node is None:
                done.add(path.pop())
                left.pop()
            elif node in path:
                return [*path[path.index(node) :], node]
            elif node not in done:
                path.append(node)
                left.append(iter(steps.get(node, ())))
    return []


def _contradictions(
    message: policy_pb2.Policy,
    catalog: Catalog,
    contracts: Contracts,
    tiers: Mapping[str, PolicyRules],
    keys: Mapping[str, str],
) -> Iterator[FieldViolation]:
    """Yield contradictions of combined layers: rules that no model meets, and floors over ceilings."""
    document = PolicyDocument(message, tiers=tiers)
    able = {"": catalog.models} | {entry.task: _able(catalog, contracts, entry.task) for entry in message.tasks}
    subjects = ["", *[entry.name for entry in message.subjects]]
    cases = [("", tier, "", task, subject) for tier in tiers for task in able for subject in subjects]
    cases += [(key_id, tier, key_id, task, "") for key_id, tier in keys.items() for task in able]
    reported: set[tuple[str, str]] = set()
    for _, tier, key_id, task, subject in cases:
        if tier not in tiers:
            continue
        rules = document.rules(tier=tier, key_ids=[key_id], task=task, subject=subject)
        # The last layer causes the contradiction. Each is reported once.
        field = rules.layers[-1]
        problem = _contradiction(rules, able[task], task)
        kind = problem.partition(" ")[0]
        if problem and (field, kind) not in reported:
            reported.add((field, kind))
            yield FieldViolation(field, f"{problem} (with {', '.join(rules.layers)})")
    for entry in message.fallbacks:
        denied = sorted(set(entry.models) & set(message.everyone.deny))
        if denied:
            yield FieldViolation(
                f"fallbacks.{entry.model}.models", f"everyone.deny denies {', '.join(denied)}; remove it from one"
            )


def _contradiction(rules: PolicyRules, able: Sequence[CatalogModel], task: str) -> str:
    if rules.quality_floor > rules.quality_ceiling and rules.sufficiency is None:
        return (
            f"quality_floor {rules.quality_floor:g} is over quality_ceiling {rules.quality_ceiling:g}; lower the "
            "floor or raise the ceiling"
        )
    # If no model can do a task at all, the fault is not the policy's.
    if able and all(rules.rejection_reason(model) for model in able):
        return (
            f"denies every model{f' that can {task}' if task else ''}: "
            f"{able[0].name}: {rules.rejection_reason(able[0])}; allow at least one"
        )
    return ""


def _able(catalog: Catalog, contracts: Contracts, task: str) -> Sequence[CatalogModel]:
    """Return the models with the capabilities that some method of the task needs."""
    needed = {method.capabilities for method in contracts.methods.values() if task in tasks_of(method.task)}
    needed.discard(frozenset())
    return [model for model in catalog.models if any(words <= model.capabilities for words in needed)]


def _bandit(bandit: policy_pb2.Bandit) -> Iterator[FieldViolation]:
    ceiling = bandit.quality_ceiling if bandit.HasField("quality_ceiling") else 1.0
    for name, value in (
        ("explore_share", bandit.explore_share),
        ("quality_floor", bandit.quality_floor),
        ("quality_ceiling", ceiling),
    ):
        if not 0 <= value <= 1:
            yield FieldViolation(f"bandit.{name}", f"{value} must be from 0 to 1")
    if bandit.quality_floor > ceiling:
        yield FieldViolation("bandit.quality_floor", f"{bandit.quality_floor} is over quality_ceiling, {ceiling}")
    factor = bandit.max_price_factor
    if factor != 0 and not (factor >= 1 and math.isfinite(factor)):
        yield FieldViolation("bandit.max_price_factor", f"{factor} must be at least 1")
    if not 0 <= bandit.half_life_days <= _MAX_HALF_LIFE_DAYS:
        yield FieldViolation(
            "bandit.half_life_days", f"{bandit.half_life_days} must be from 0 to {_MAX_HALF_LIFE_DAYS}"
        )
    if not 0 <= bandit.prior_weight <= _MAX_PRIOR_WEIGHT:
        yield FieldViolation("bandit.prior_weight", f"{bandit.prior_weight} must be from 0 to {_MAX_PRIOR_WEIGHT}")


def _named(field: str, names: Sequence[str], known: Iterable[str] | None, what: str) -> Iterator[FieldViolation]:
    most = _MAX_SIZES.get(field)
    if most is not None and len(names) > most:
        yield FieldViolation(field, f"{len(names)} entries are too many; write at most {most}")
    for name in _twice(names):
        yield FieldViolation(field, f"{name[:64]!r} occurs twice; merge the two")
    if known is not None:
        there = frozenset(known)
        for name in dict.fromkeys(names):
            if name not in there:
                yield FieldViolation(field, f"unknown {name[:64]!r}; write {what}")


def _one_of(words: Iterable[str]) -> str:
    return f"one of {', '.join(words)}"


def _twice(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]

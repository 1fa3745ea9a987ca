"""The check of a policy document: every problem with its field and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import FieldViolation
from enginehouse.kit.nearest import did_you_mean
from enginehouse.router.policy._document import PolicyDocument
from enginehouse.router.policy._policy import DEFAULT
from enginehouse.router.policy._route import LABEL, policy_tasks, tasks_of
from enginehouse.router.policy._rules import PolicyRules

_LARGEST = 256 << 10
_MOST = {"tenants": 1000, "keys": 1000, "subjects": 64, "keywords": 256, "description": 512}
_MAX_HALF_LIFE_DAYS = 365
_GREATEST_PRIOR = 10_000
# Of the words that are looked for; the same that a prompt is cut into.
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
        catalog: the models that there are.
        contracts: the tasks that there are.
        tiers: what the configuration says of each tier.
        keys: of the keys that the document names, those that exist, with their tenants' tiers.
        tenants: of the tenants that it names, those that exist.
    """
    if message.ByteSize() > _LARGEST:
        return [FieldViolation("policy", f"has {message.ByteSize()} bytes; at most {_LARGEST} are taken")]
    check = _Check(catalog, contracts)
    found = list(check.document(message, tiers=tiers, keys=keys, tenants=frozenset(tenants)))
    if not found:
        # Only of what is sound by itself can be told whether it contradicts itself.
        found = list(_contradictions(message, catalog, contracts, tiers, keys))
    return found


class _Check:
    """Checks parts of a document against the catalog."""

    def __init__(self, catalog: Catalog, contracts: Contracts) -> None:
        self._tasks = policy_tasks(contracts)
        self._models = [model.name for model in catalog.models]
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
        """All but contradictions."""
        if not LABEL(message.name):
            yield FieldViolation(
                "name", f"{message.name[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter, such as {DEFAULT!r}"
            )
        if len(message.description) > _MOST["description"]:
            yield FieldViolation("description", f"has {len(message.description)} characters; write at most 512")
        if message.name == DEFAULT and message.tenants:
            yield FieldViolation(
                "tenants", f"{DEFAULT!r} is for every tenant without a document of its own; leave them out"
            )
        if message.name != DEFAULT and not message.tenants:
            yield FieldViolation("tenants", f"name the tenants that it is for; only {DEFAULT!r} is for all others")
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
                    f"{field}.{name}", f"{', '.join(both)} stands in {name} and in deny; take it out of one"
                )

    def _known(self, field: str, models: Sequence[str]) -> Iterator[FieldViolation]:
        for name in models:
            if name not in self._models:
                hint = did_you_mean(name, self._models, count=3) or f"; known: {', '.join(self._models[:10]) or 'none'}"
                yield FieldViolation(field, f"no model {name[:128]!r} in the catalog{hint}")
        for name in _twice(models):
            yield FieldViolation(field, f"{name!r} stands here twice; take one out")

    def _subjects(self, message: policy_pb2.Policy) -> Iterator[FieldViolation]:
        yield from _named("subjects", [entry.name for entry in message.subjects], None, "")
        for entry in message.subjects:
            field = f"subjects.{entry.name[:64]}"
            if not LABEL(entry.name):
                yield FieldViolation(
                    "subjects", f"{entry.name[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter"
                )
            yield from self._known(f"{field}.specialists", entry.specialists)
            if len(entry.keywords) > _MOST["keywords"]:
                yield FieldViolation(f"{field}.keywords", f"has {len(entry.keywords)}; at most 256 are taken")
            for word in entry.keywords:
                if not word or word != word.lower() or _NOT_IN_WORDS.intersection(word):
                    yield FieldViolation(
                        f"{field}.keywords", f"{word[:64]!r} must be a single word in lower case, without punctuation"
                    )
            for word in _twice(entry.keywords):
                yield FieldViolation(f"{field}.keywords", f"{word!r} stands here twice; take one out")
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
                yield FieldViolation(f"{field}.models", "name at least one model, or leave the entry out")
            factor = entry.max_price_factor
            if entry.HasField("max_price_factor") and not (factor >= 1 and math.isfinite(factor)):
                yield FieldViolation(
                    f"{field}.max_price_factor", f"{factor} must be at least 1; leave it out for any price"
                )
        cycle = find_cycle({entry.model: list(entry.models) for entry in message.fallbacks})
        if cycle:
            yield FieldViolation(
                "fallbacks", f"{' -> '.join(cycle)} goes round in a circle; take one of these steps out"
            )


def sections(message: policy_pb2.Policy) -> Iterator[tuple[str, policy_pb2.Rules]]:
    """Every set of rules in a document, with where it stands."""
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
    """A way round in a graph, its first node again at its end; empty if there is none."""
    done: set[str] = set()
    for start in steps:
        # Depth first without recursion: the way here, and what is left to try from each node on it.
        way, left = [start], [iter(steps[start])]
        while way:
            node = next(left[-1], None)
            if node is None:
                done.add(way.pop())
                left.pop()
            elif node in way:
                return [*way[way.index(node) :], node]
            elif node not in done:
                way.append(node)
                left.append(iter(steps.get(node, ())))
    return []


def _contradictions(
    message: policy_pb2.Policy,
    catalog: Catalog,
    contracts: Contracts,
    tiers: Mapping[str, PolicyRules],
    keys: Mapping[str, str],
) -> Iterator[FieldViolation]:
    """PolicyRules that no model meets, and floors over ceilings, where layers come together."""
    document = PolicyDocument(message, tiers=tiers)
    able = {"": catalog.models} | {entry.task: _able(catalog, contracts, entry.task) for entry in message.tasks}
    subjects = ["", *[entry.name for entry in message.subjects]]
    cases = [("", tier, "", task, subject) for tier in tiers for task in able for subject in subjects]
    cases += [(key_id, tier, key_id, task, "") for key_id, tier in keys.items() for task in able]
    told: set[tuple[str, str]] = set()
    for _, tier, key_id, task, subject in cases:
        if tier not in tiers:
            continue
        rules = document.rules(tier=tier, key_ids=[key_id], task=task, subject=subject)
        # Blamed on the last layer, which made it so; each is told of once.
        field = rules.layers[-1]
        problem = _contradiction(rules, able[task], task)
        kind = problem.partition(" ")[0]
        if problem and (field, kind) not in told:
            told.add((field, kind))
            yield FieldViolation(field, f"{problem} (with {', '.join(rules.layers)})")
    for entry in message.fallbacks:
        denied = sorted(set(entry.models) & set(message.everyone.deny))
        if denied:
            yield FieldViolation(
                f"fallbacks.{entry.model}.models", f"everyone.deny denies {', '.join(denied)}; take it out of one"
            )


def _contradiction(rules: PolicyRules, able: Sequence[CatalogModel], task: str) -> str:
    if rules.quality_floor > rules.quality_ceiling and rules.sufficiency is None:
        return (
            f"quality_floor {rules.quality_floor:g} is over quality_ceiling {rules.quality_ceiling:g}; lower the "
            "floor or raise the ceiling"
        )
    # Where no model can do a task at all, no policy is to blame.
    if able and all(rules.refuses(model) for model in able):
        return (
            f"denies every model{f' that can {task}' if task else ''}: {able[0].name}: {rules.refuses(able[0])}; "
            "leave one"
        )
    return ""


def _able(catalog: Catalog, contracts: Contracts, task: str) -> Sequence[CatalogModel]:
    """Return the models that can do what some method of the task asks of one."""
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
    if not 0 <= bandit.prior_weight <= _GREATEST_PRIOR:
        yield FieldViolation("bandit.prior_weight", f"{bandit.prior_weight} must be from 0 to {_GREATEST_PRIOR}")


def _named(field: str, names: Sequence[str], known: Iterable[str] | None, what: str) -> Iterator[FieldViolation]:
    most = _MOST.get(field)
    if most is not None and len(names) > most:
        yield FieldViolation(field, f"has {len(names)} entries; at most {most} are taken")
    for name in _twice(names):
        yield FieldViolation(field, f"{name[:64]!r} stands here twice; make one of the two")
    if known is not None:
        there = frozenset(known)
        for name in dict.fromkeys(names):
            if name not in there:
                yield FieldViolation(field, f"{name[:64]!r} is not known; write {what}")


def _one_of(words: Iterable[str]) -> str:
    return f"one of {', '.join(words)}"


def _twice(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]

"""Whatever a policy says: what is chosen is allowed, cheapest, and falls back to nothing that is not allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.contracts import load_contracts
from enginehouse.router.decision.decide import decide
from enginehouse.router.feedback import Ratings
from enginehouse.router.policy import Policy, problems
from router.tests.harness.decision_inputs import TIERS, caller, document, model, new_request, state

NAMES = ("a", "b", "c", "d", "e")
SHARE = st.integers(0, 20).map(lambda value: value / 20)

CONTRACTS = load_contracts()

models = st.lists(
    st.builds(
        lambda quality, price, region: (quality, price, region),
        SHARE,
        st.integers(0, 10).map(lambda value: value * 10**6),
        st.sampled_from(["", "eu", "us"]),
    ),
    min_size=1,
    max_size=5,
).map(lambda found: [model(NAMES[i], quality=q, price=p, region=r) for i, (q, p, r) in enumerate(found)])


@st.composite
def rules(draw: st.DrawFn, names: list[str], regions: list[str]) -> dict[str, Any]:
    some = st.lists(st.sampled_from(names), unique=True, max_size=3)
    made: dict[str, Any] = {"deny": draw(some)}
    if draw(st.booleans()):
        made["models"] = draw(some)
    if draw(st.booleans()):
        made["prefer"] = draw(some)
    if regions and draw(st.booleans()):
        made["regions"] = draw(st.lists(st.sampled_from(regions), unique=True, max_size=2))
    if draw(st.booleans()):
        made["quality_floor"] = draw(SHARE)
    if draw(st.booleans()):
        made["quality_ceiling"] = draw(SHARE)
    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[CatalogModel], dict[str, Any], dict[str, Any]]:
    found = draw(models)
    names = [candidate.name for candidate in found]
    regions = sorted({candidate.region for candidate in found if candidate.region})
    chains = draw(
        st.dictionaries(
            st.sampled_from(names), st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True), max_size=4
        )
    )
    fields: dict[str, Any] = {
        "everyone": draw(rules(names, regions)),
        "tiers": [{"tier": "pro", "rules": draw(rules(names, regions))}],
        "tasks": [{"task": "enhance", "rules": draw(rules(names, regions))}],
        "keys": [{"key_id": "key_1", "rules": draw(rules(names, regions))}],
        "fallbacks": [
            {"model": name, "models": chain, "for_named": draw(st.booleans())} for name, chain in chains.items()
        ],
        "bandit": {
            "enabled": draw(st.booleans()),
            "explore_share": draw(SHARE),
            "max_price_factor": draw(st.sampled_from([1.0, 1.5, 4.0])),
            "quality_floor": draw(SHARE),
            "quality_ceiling": draw(SHARE),
        },
    }
    request = {
        "complexity": draw(SHARE),
        "asleep": tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=2))),
        "allowed": tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=3))),
        "task": draw(st.sampled_from(["", "enhance"])),
        "model": draw(st.sampled_from(["auto", *names])),
        "request_id": draw(st.sampled_from(["", "req_1", "req_2", "req_3"])),
        "scores": draw(st.lists(st.tuples(st.sampled_from(names), st.integers(0, 50), st.integers(0, 50)), max_size=5)),
    }
    return found, fields, request


def may_use(one: CatalogModel, fields: dict[str, Any], request: dict[str, Any]) -> bool:
    """Return whether the document allows the model: its meaning, written another way."""
    layers = [fields["everyone"], fields["tiers"][0]["rules"]]
    if request["task"]:
        layers.append(fields["tasks"][0]["rules"])
    layers.append(fields["keys"][0]["rules"])
    if request["allowed"] and one.name not in request["allowed"]:
        return False
    named = [layer["models"] for layer in layers if layer.get("models")]
    return (
        all(one.name not in layer["deny"] for layer in layers)
        and (not named or one.name in named[-1])
        and all(one.region in layer["regions"] for layer in layers if layer.get("regions"))
    )


@settings(max_examples=200)
@given(cases())
def test_no_decision_leaves_the_policy(case: tuple[list[CatalogModel], dict[str, Any], dict[str, Any]]) -> None:
    found, fields, request = case
    here = state(found, document(**fields), complexity=request["complexity"], asleep=request["asleep"])
    here.ratings = Ratings(
        {30.0: {"generate/0": {name: (float(good), float(bad)) for name, good, bad in request["scores"]}}}
    )
    asked = new_request(request["model"], task=request["task"])
    who = caller(*request["allowed"])
    decision = decide(asked, who, here, request_id=request["request_id"])
    explained = decide(asked, who, here, request_id=request["request_id"], explain=True)
    assert [candidate.model for candidate in explained.candidates] == [
        candidate.model for candidate in decision.candidates
    ]
    assert [option.model for option in explained.considered if not option.rejection_reason] == (
        [decision.model] if decision.model else []
    )

    by_name = {candidate.name: candidate for candidate in found}
    chosen = [candidate.model.name for candidate in decision.candidates]
    assert len(chosen) == len(set(chosen)) <= 5
    for name in chosen:
        assert may_use(by_name[name], fields, request)
        assert name not in request["asleep"]
    usable = [
        candidate
        for candidate in found
        if may_use(candidate, fields, request) and candidate.name not in request["asleep"]
    ]
    chains = {entry["model"]: entry for entry in fields["fallbacks"]}
    if request["model"] != "auto":
        if request["model"] in chains and chains[request["model"]]["for_named"]:
            return
        assert chosen in ([], [request["model"]])
        return
    assert bool(chosen) == bool(usable)
    if not chosen:
        return
    if chosen[0] not in chains:
        assert len(chosen) == 1
    if decision.rules.prefer and {candidate.name for candidate in usable} & set(decision.rules.prefer):
        wanted = [name for name in decision.rules.prefer if name in {candidate.name for candidate in usable}]
        assert chosen[0] == wanted[0]
        return
    bounds = {name: here.prices.offers_for(who)[name].bound_nanos(asked) for name in by_name}
    good = [candidate for candidate in usable if candidate.quality >= decision.quality_needed]
    plain = (
        min(good, key=lambda one: (bounds[one.name], -one.quality, one.name))
        if good
        else max(usable, key=lambda one: (one.quality, -bounds[one.name]))
    )
    if not fields["bandit"]["enabled"]:
        assert (by_name[chosen[0]].quality, bounds[chosen[0]]) == (plain.quality, bounds[plain.name])
        return
    # The bandit stays within its bounds, or takes what the rules alone would.
    terms = fields["bandit"]
    assert chosen[0] == plain.name or (
        bounds[chosen[0]] <= bounds[plain.name] * terms["max_price_factor"]
        and max(terms["quality_floor"], decision.rules.quality_floor)
        <= by_name[chosen[0]].quality
        <= terms["quality_ceiling"]
    )


@settings(max_examples=100)
@given(cases())
def test_an_alias_is_decided_as_what_it_stands_for(
    case: tuple[list[CatalogModel], dict[str, Any], dict[str, Any]],
) -> None:
    found, fields, request = case
    aliases = {"other": request["model"]}
    here = state(found, document(**fields), complexity=request["complexity"], asleep=request["asleep"], aliases=aliases)
    named, aliased = (new_request(name, task=request["task"]) for name in (request["model"], "other"))
    aliased.follow_alias(here.catalog.aliases)
    who = caller(*request["allowed"])
    direct, followed = (decide(asked, who, here, request_id=request["request_id"]) for asked in (named, aliased))
    assert followed.candidates == direct.candidates
    assert followed.bound_nanos == direct.bound_nanos
    assert (followed.refusal is None) == (direct.refusal is None)


@settings(max_examples=200)
@given(cases())
def test_what_is_said_to_be_sound_can_be_decided_by_for_everyone(
    case: tuple[list[CatalogModel], dict[str, Any], dict[str, Any]],
) -> None:
    found, fields, _ = case
    policy = Policy(tiers=TIERS)
    message = document(**fields)
    wrong = problems(
        message, catalog=Catalog(found), contracts=CONTRACTS, tiers=policy.base(), keys={"key_1": "pro"}, tenants=[]
    )
    if wrong:
        return
    here = state(found, message)
    for tier in TIERS:
        for task in ("", "enhance"):
            for key_id in ("key_1", "key_2"):
                if key_id == "key_1" and tier != "pro":
                    continue
                decision = decide(new_request(task=task), caller(tier=tier, key_id=key_id), here)
                assert decision.candidates, dataclasses.asdict(decision.rules)

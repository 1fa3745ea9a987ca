"""Policy documents: their meaning, their faults, and the decisions that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.decision.decide import Decision, State, decide
from enginehouse.router.policy import Policy, TierSettings, policy_tasks, problems, read_route
from enginehouse.router.request import Task
from router.tests.harness.decision_inputs import TIERS, caller, document, fleet, model, new_request, state

SMALL = model("small", quality=0.2, price=1 * 10**6)
LARGE = model("large", quality=0.5, price=3 * 10**6, region="eu")
HUGE = model("huge", quality=0.9, price=9 * 10**6, region="us")
SUMS = model("sums", quality=0.6, price=2 * 10**6, region="eu")
VECTORS = model("vectors", price=10**5, capabilities=("embeddings",))
MODELS = (SMALL, LARGE, HUGE, SUMS, VECTORS)
CONTRACTS = load_contracts()
TASKS = policy_tasks(CONTRACTS)


def name_of(decision: Decision) -> str:
    assert decision.model is not None, decision.refusal
    return decision.model.name


def why(decision: Decision) -> dict[str, str]:
    return {option.model.name: option.rejection_reason for option in decision.considered}


def test_without_documents_the_configuration_holds() -> None:
    here = state(MODELS, complexity=1.0, tiers={**TIERS, "pro": TierSettings(quality_ceiling=0.5, models=("large",))})
    decision = decide(new_request(), caller(), here, explain=True)
    assert name_of(decision) == "large"
    assert "configuration.tiers.pro.models" in why(decision)["small"]
    assert (decision.rules.policy, decision.rules.version) == ("default", 0)


def test_the_more_special_rule_wins_and_what_is_denied_stays_denied() -> None:
    rules = document(
        everyone={"quality_floor": 0.1, "deny": ["small"]},
        tiers=[{"tier": "pro", "rules": {"quality_floor": 0.3, "quality_ceiling": 0.3}}],
        tasks=[{"task": "enhance", "rules": {"quality_floor": 0.55, "quality_ceiling": 0.6}}],
        keys=[
            {"key_id": "key_2", "rules": {"quality_floor": 0.9, "quality_ceiling": 0.9, "models": ["small", "huge"]}}
        ],
    )
    here = state(MODELS, rules)
    assert name_of(decide(new_request(), caller(tier="free"), here)) == "sums"
    assert name_of(decide(new_request(), caller(), here)) == "sums"
    assert name_of(decide(new_request(task="enhance"), caller(), here)) == "sums"
    mine = decide(new_request(task="enhance"), caller(key_id="key_2"), here, explain=True)
    assert name_of(mine) == "huge"
    assert mine.rules.layers == ("configuration.tiers.pro", "everyone", "tiers.pro", "tasks.enhance", "keys.key_2")
    assert "everyone" in why(mine)["small"]
    assert "denies" in why(mine)["small"]
    refusal = decide(new_request("small"), caller(key_id="key_2"), here).refusal
    assert refusal is not None
    assert refusal.reason is Reason.MODEL_DENIED
    assert "everyone" in refusal.message


def test_a_document_of_its_own_takes_a_tenant_out_of_the_default() -> None:
    here = state(
        MODELS,
        document(everyone={"models": ["small"]}),
        document(name="special", tenants=["ten_2"], everyone={"models": ["huge"]}),
    )
    assert name_of(decide(new_request(), caller(), here)) == "small"
    special = decide(new_request(), caller(tenant_id="ten_2"), here)
    assert (name_of(special), special.rules.policy) == ("huge", "special")


def test_tasks_come_from_the_header_or_the_method() -> None:
    here = state(
        MODELS,
        document(
            tasks=[
                {"task": "embed", "rules": {"models": ["vectors"]}},
                {"task": "analyse", "rules": {"prefer": ["huge"]}},
            ]
        ),
    )
    assert name_of(decide(new_request(needs="embeddings"), caller(), here)) == "vectors"
    analysed = decide(new_request(task="analyse"), caller(), here, explain=True)
    assert name_of(analysed) == "huge"
    assert analysed.rule == "tasks.analyse of the policy prefers huge"
    assert name_of(decide(new_request(), caller(), here)) == "small"
    assert read_route({b"x-enginehouse-task": b"enhance"}, Task.GENERATE, tasks=TASKS) == ("enhance", "")
    assert read_route({b"x-enginehouse-subject": b"maths"}, Task.EMBED, tasks=TASKS) == ("embed", "maths")


@pytest.mark.parametrize(
    ("headers", "task", "hint"),
    [
        ({b"x-enginehouse-task": b"dream"}, Task.GENERATE, "'dream' must be one of generate, enhance"),
        ({b"x-enginehouse-task": b"embed"}, Task.GENERATE, "it has the tasks generate"),
        ({b"x-enginehouse-task": b"generate"}, Task.EMBED, "it has the task embed"),
        ({b"x-enginehouse-subject": b"Maths!"}, Task.GENERATE, "'Maths!'"),
    ],
)
def test_headers_that_name_no_task_or_subject_are_refused(headers: dict[bytes, bytes], task: str, hint: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read_route(headers, task, tasks=TASKS)
    assert refused.value.reason is Reason.INVALID_REQUEST
    assert hint in refused.value.message


def test_specialists_serve_their_subject_and_no_other() -> None:
    rules = document(
        subjects=[
            {"name": "maths", "specialists": ["sums"], "keywords": ["algebra", "బీజగణితం", "equation"]},
            {"name": "law", "keywords": ["court", "statute"], "keywords_needed": 2, "rules": {"prefer": ["huge"]}},
        ]
    )
    here = state(MODELS, rules, complexity=0.55)
    assert name_of(decide(new_request(subject="maths"), caller(), here)) == "sums"
    assert name_of(decide(new_request(text="Solve this equation: 2x = 4."), caller(), here)) == "sums"
    assert name_of(decide(new_request(text="ఈ బీజగణితం ప్రశ్నకు జవాబు?"), caller(), here)) == "sums"
    assert name_of(decide(new_request(text="x" * 5000 + " algebra"), caller(), here)) == "sums"
    other = decide(new_request(text="a story of a crow"), caller(), here, explain=True)
    assert name_of(other) == "huge"
    assert why(other)["sums"] == "it is kept for the subject maths"
    assert decide(new_request(text="the court met"), caller(), here).subject == ""
    assert decide(new_request(text="The court read the statute."), caller(), here).subject == "law"
    asleep = state(MODELS, rules, complexity=0.0, asleep=("sums",))
    assert name_of(decide(new_request(subject="maths"), caller(), asleep)) == "small"
    only = state([SUMS], rules)
    refusal = decide(new_request(text="a story of a crow"), caller(), only).refusal
    assert refusal is not None
    assert refusal.reason is Reason.MODEL_DENIED
    assert "kept for the subject maths" in refusal.message
    # Whoever names the specialist gets it, for whatever it is.
    assert name_of(decide(new_request("sums"), caller(), here)) == "sums"


def test_regions_narrow_and_hold_for_named_models_too() -> None:
    here = state(
        MODELS,
        document(
            everyone={"regions": ["eu", "us"]},
            keys=[{"key_id": "key_eu", "rules": {"regions": ["eu"]}}],
        ),
        complexity=1.0,
    )
    assert name_of(decide(new_request(), caller(), here)) == "huge"
    european = decide(new_request(), caller(key_id="key_eu"), here, explain=True)
    assert name_of(european) == "sums"
    assert "in the region us" in why(european)["huge"]
    assert "no region that the catalog states" in why(european)["small"]
    refusal = decide(new_request("huge"), caller(key_id="key_eu"), here).refusal
    assert refusal is not None
    assert refusal.reason is Reason.MODEL_DENIED
    assert "keys.key_eu" in refusal.message


def test_a_model_that_begins_too_late_is_passed_over_by_measurements_and_load() -> None:
    here = state(MODELS, document(everyone={"max_first_token_ms": 500}))
    assert name_of(decide(new_request(), caller(), here)) == "small"
    here.first_tokens.replace({"small": 400, "sums": 300})
    assert name_of(decide(new_request(), caller(), here)) == "small"
    # Two requests wait for each that runs: a new one waits for them all.
    here.fleet = fleet(MODELS, queued={"small": 2})
    busy = decide(new_request(), caller(), here, explain=True)
    assert name_of(busy) == "sums"
    assert "about 800 ms" in why(busy)["small"]
    here.first_tokens.replace({"small": 900, "sums": 800, "large": 700, "huge": 600})
    assert name_of(decide(new_request(), caller(), here)) == "huge"
    # Whoever names a model waits for it.
    assert name_of(decide(new_request("small"), caller(), here)) == "small"


def test_a_probability_can_be_the_threshold() -> None:
    here = state(MODELS, document(everyone={"sufficiency": 0.9}), complexity=0.5)
    decision = decide(new_request(), caller(), here, explain=True)
    probabilities = {option.model.name: option.sufficiency for option in decision.considered}
    assert probabilities["small"] < probabilities["large"] < probabilities["huge"]
    assert probabilities["huge"] < 0.9
    assert name_of(decision) == "huge"
    modest = state(MODELS, document(everyone={"sufficiency": 0.5}), complexity=0.5)
    told = decide(new_request(), caller(), modest, explain=True)
    # A quality of a half suffices for a prompt of a half; the cheapest of those at least as good is taken.
    assert name_of(told) == "sums"
    assert "suffices with probability" in why(told)["small"]


def chain(*models: str, **more: Any) -> dict[str, Any]:
    return {"models": list(models), **more}


def test_fallbacks_follow_the_policy_in_order_and_only_where_it_says_so() -> None:
    rules = document(
        fallbacks=[
            {"model": "small", **chain("large", "vectors", "huge")},
            {"model": "large", **chain("sums", for_named=True)},
        ]
    )
    here = state(MODELS, rules)
    decision = decide(new_request(), caller(), here, explain=True)
    assert [candidate.model.name for candidate in decision.candidates] == ["small", "large", "huge", "sums"]
    assert decision.bound_nanos == max(candidate.bound_nanos for candidate in decision.candidates)
    assert [endpoint.engine_id for endpoint in decision.endpoints][:2] == ["engine-small", "engine-large"]
    weighed = {option.model.name: option for option in decision.considered}
    assert [weighed[name].fallback for name in ("small", "large", "huge", "sums", "vectors")] == [0, 1, 2, 3, 0]
    assert weighed["large"].rejection_reason == "it is fallback 1"
    # The chain of a model is for those who name it only where that is said.
    assert len(decide(new_request("small"), caller(), here).candidates) == 1
    assert [candidate.model.name for candidate in decide(new_request("large"), caller(), here).candidates] == [
        "large",
        "sums",
    ]
    refused = decide(new_request("small"), caller(), state(MODELS, rules, asleep=("small",))).refusal
    assert refused is not None
    assert refused.reason is Reason.NO_ENDPOINT
    instead = decide(new_request("large"), caller(), state(MODELS, rules, asleep=("large",)), explain=True)
    assert [candidate.model.name for candidate in instead.candidates] == ["sums"]
    assert "large has 0 live" in instead.rule


def test_a_fallback_is_never_one_that_the_caller_may_not_use_or_too_dear() -> None:
    rules = document(
        everyone={"deny": ["huge"]},
        fallbacks=[{"model": "small", **chain("large", "huge", "sums", max_price_factor=2.0)}],
    )
    decision = decide(new_request(), caller(), state(MODELS, rules))
    assert [candidate.model.name for candidate in decision.candidates] == ["small", "sums"]
    narrow = decide(new_request(), caller("small", "large"), state(MODELS, rules))
    assert [candidate.model.name for candidate in narrow.candidates] == ["small"]


def trip(here: State, name: str) -> None:
    """Open a model's breaker through the reports of engines."""
    for failed in range(0, 60, 20):
        here.fleet.update(
            registry_pb2.LiveEngine(
                engine=registry_pb2.Engine(
                    engine_id=f"engine-{model.name}",
                    address=f"127.0.0.1:{5000 + number}",
                    cluster=model.cluster,
                    models=[registry_pb2.ServedModel(name=model.name)],
                    capacity=1,
                ),
                load=registry_pb2.Load(
                    tallies=[registry_pb2.ModelTally(model=model.name, failed=failed if model.name == name else 0)]
                ),
            )
            for number, model in enumerate(here.catalog.models)
        )


def test_a_model_whose_engines_fail_is_passed_over_while_another_serves() -> None:
    here = state(MODELS, document(fallbacks=[{"model": "large", **chain("huge", for_named=True)}]))
    trip(here, "small")
    decision = decide(new_request(), caller(), here, explain=True)
    assert name_of(decision) == "sums"
    assert "its engines fail" in why(decision)["small"]
    # Named, with nothing to fall back to: a breaker only remembers.
    assert name_of(decide(new_request("small"), caller(), here)) == "small"
    trip(here, "large")
    named = decide(new_request("large"), caller(), here, explain=True)
    assert [candidate.model.name for candidate in named.candidates] == ["huge", "large"]
    assert "large" in named.rule


KEYS = {"key_1": "pro"}


def found_in(**fields: Any) -> dict[str, str]:
    policy = Policy(tiers=TIERS)
    found = problems(
        document(**fields),
        catalog=Catalog(MODELS),
        contracts=CONTRACTS,
        tiers=policy.base(),
        keys=KEYS,
        tenants=["ten_1"],
    )
    return {problem.field: problem.description for problem in found}


def test_a_sound_document_has_no_problems() -> None:
    assert not found_in(
        everyone={"quality_floor": 0.1, "quality_ceiling": 0.9, "regions": ["eu", "us"]},
        tiers=[{"tier": "free", "rules": {"deny": ["huge"], "quality_ceiling": 0.5}}],
        tasks=[{"task": "enhance", "rules": {"prefer": ["large"]}}],
        subjects=[{"name": "maths", "specialists": ["sums"], "keywords": ["algebra"], "rules": {"sufficiency": 0.8}}],
        keys=[{"key_id": "key_1", "rules": {"max_first_token_ms": 900}}],
        fallbacks=[
            {"model": "small", **chain("large", "huge", max_price_factor=10)},
            {"model": "large", **chain("huge")},
        ],
        bandit={"enabled": True, "explore_share": 0.1, "max_price_factor": 2, "quality_ceiling": 0.9},
    )


@pytest.mark.parametrize(
    ("fields", "field", "hint"),
    [
        ({"name": "Not a name"}, "name", "'Not a name'"),
        ({"name": "other"}, "tenants", "only 'default' is for all others"),
        ({"tenants": ["ten_1"]}, "tenants", "leave them out"),
        ({"name": "other", "tenants": ["ten_9"]}, "tenants", "unknown 'ten_9'"),
        ({"name": "other", "tenants": ["ten_1", "ten_1"]}, "tenants", "'ten_1' occurs twice"),
        ({"everyone": {"models": ["smal"]}}, "everyone.models", "'smal' is not in the catalog; did you mean 'small'"),
        ({"everyone": {"deny": ["gone"]}}, "everyone.deny", "'gone'"),
        ({"everyone": {"prefer": ["gone"]}}, "everyone.prefer", "'gone'"),
        ({"everyone": {"quality_floor": 1.5}}, "everyone.quality_floor", "1.5 must be from 0 to 1"),
        ({"everyone": {"quality_ceiling": -0.5}}, "everyone.quality_ceiling", "-0.5"),
        ({"everyone": {"quality_ceiling": "NaN"}}, "everyone.quality_ceiling", "nan"),
        ({"everyone": {"sufficiency": 2}}, "everyone.sufficiency", "2.0 must be from 0 to 1"),
        ({"everyone": {"sufficiency": 0}}, "everyone.sufficiency", "more than 0"),
        ({"everyone": {"max_first_token_ms": 0}}, "everyone.max_first_token_ms", "over 0"),
        ({"everyone": {"regions": ["mars"]}}, "everyone.regions", "'mars'; regions: eu, us"),
        ({"everyone": {"models": ["small"], "deny": ["small"]}}, "everyone.models", "in models and in deny"),
        ({"tiers": [{"tier": "gold"}]}, "tiers", "unknown 'gold'; write one of free, starter, pro, enterprise"),
        ({"tiers": [{"tier": "pro"}, {"tier": "pro"}]}, "tiers", "twice"),
        ({"tasks": [{"task": "dream"}]}, "tasks", "unknown 'dream'; write one of generate"),
        ({"keys": [{"key_id": "key_9"}]}, "keys", "unknown 'key_9'"),
        ({"subjects": [{"name": "Maths"}]}, "subjects", "'Maths'"),
        ({"subjects": [{"name": "maths", "specialists": ["gone"]}]}, "subjects.maths.specialists", "'gone'"),
        ({"subjects": [{"name": "maths", "keywords": ["two words"]}]}, "subjects.maths.keywords", "'two words'"),
        ({"subjects": [{"name": "maths", "keywords": ["Sum"]}]}, "subjects.maths.keywords", "lower case"),
        ({"subjects": [{"name": "maths", "keywords_needed": 1}]}, "subjects.maths.keywords_needed", "0"),
        ({"fallbacks": [{"model": "gone", "models": ["small"]}]}, "fallbacks", "'gone'"),
        ({"fallbacks": [{"model": "small", "models": ["gone"]}]}, "fallbacks.small.models", "'gone'"),
        ({"fallbacks": [{"model": "small"}]}, "fallbacks.small.models", "at least one"),
        ({"fallbacks": [{"model": "small", "models": ["small"]}]}, "fallbacks", "small -> small"),
        (
            {"fallbacks": [{"model": "small", **chain("large")}, {"model": "large", **chain("huge", "small")}]},
            "fallbacks",
            "small -> large -> small is a cycle",
        ),
        (
            {"fallbacks": [{"model": "small", **chain("large", max_price_factor=0.5)}]},
            "fallbacks.small.max_price_factor",
            "0.5 must be at least 1",
        ),
        ({"bandit": {"explore_share": 1.1}}, "bandit.explore_share", "1.1"),
        ({"bandit": {"max_price_factor": 0.9}}, "bandit.max_price_factor", "0.9"),
        ({"bandit": {"quality_floor": 0.8, "quality_ceiling": 0.5}}, "bandit.quality_floor", "over quality_ceiling"),
        ({"bandit": {"half_life_days": -1}}, "bandit.half_life_days", "-1"),
        # Contradictions between layers.
        ({"everyone": {"deny": [model.name for model in MODELS]}}, "everyone", "denies every model"),
        (
            {"everyone": {"models": ["small"]}, "tiers": [{"tier": "pro", "rules": {"deny": ["small"]}}]},
            "tiers.pro",
            "denies every model",
        ),
        (
            {"tasks": [{"task": "embed", "rules": {"models": ["small"]}}]},
            "tasks.embed",
            "denies every model that can embed",
        ),
        (
            {"everyone": {"regions": ["eu"]}, "keys": [{"key_id": "key_1", "rules": {"regions": ["us"]}}]},
            "keys.key_1",
            "denies every model",
        ),
        (
            {"everyone": {"quality_ceiling": 0.3}, "tiers": [{"tier": "pro", "rules": {"quality_floor": 0.5}}]},
            "tiers.pro",
            "quality_floor 0.5 is over quality_ceiling 0.3",
        ),
        (
            {"everyone": {"deny": ["huge"]}, "fallbacks": [{"model": "small", **chain("huge")}]},
            "fallbacks.small.models",
            "everyone.deny denies huge",
        ),
    ],
)
def test_what_a_document_may_not_say(fields: dict[str, Any], field: str, hint: str) -> None:
    found = found_in(**fields)
    assert field in found, found
    assert hint in found[field]


def test_a_request_stays_in_one_cluster() -> None:
    voice = model("voice", cluster="voice", capabilities=("speech",))
    policy = Policy(tiers=TIERS)
    found = problems(
        document(fallbacks=[{"model": "small", **chain("voice")}]),
        catalog=Catalog([*MODELS, voice]),
        contracts=CONTRACTS,
        tiers=policy.base(),
        keys={},
        tenants=[],
    )
    assert ["cluster voice" in problem.description for problem in found] == [True]

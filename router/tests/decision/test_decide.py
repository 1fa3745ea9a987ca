"""Which model, and what it may cost at most."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason
from enginehouse.kit.pricing import UNITS, cost_nanos
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.fleet.fleet import Fleet
from enginehouse.router.identity import Caller, Key, Tenant
from enginehouse.router.policy import Policy, TierSettings
from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Task


class Fixed:
    """A predictor that always says the same."""

    def __init__(self, complexity: float) -> None:
        self.complexity = complexity

    def predict(self, texts: object) -> Prediction:
        return Prediction(self.complexity, ())


def model(
    name: str,
    *,
    quality: float = 0.5,
    read: int = 10**6,
    write: int = 4 * 10**6,
    context: int = 8192,
    output: int = 256,
    capabilities: tuple[str, ...] = ("chat",),
) -> CatalogModel:
    return CatalogModel(
        name=name,
        cluster="inference",
        backend="llama.cpp",
        source="bundled:x",
        context_tokens=context,
        max_output_tokens=output,
        capabilities=frozenset(capabilities),
        quality=quality,
        prices={UNITS["input_tokens"]: read, UNITS["cached_input_tokens"]: read // 10, UNITS["output_tokens"]: write},
        options={},
    )


CHEAP = model("cheap", quality=0.2)
MIDDLE = model("middle", quality=0.5, read=3 * 10**6)
DEAR = model("dear", quality=0.9, read=10**7)
VECTORS = model("vectors", capabilities=("embeddings",))
MODELS = (CHEAP, MIDDLE, DEAR, VECTORS)


def state(
    *models: CatalogModel, complexity: float = 0.0, asleep: tuple[str, ...] = (), tier: TierSettings | None = None
) -> State:
    fleet = Fleet()
    fleet.update(
        registry_pb2.LiveEngine(
            engine=registry_pb2.Engine(
                engine_id=model.name,
                address=f"127.0.0.1:{5000 + number}",
                models=[registry_pb2.ServedModel(name=model.name)],
                capacity=1,
            )
        )
        for number, model in enumerate(models)
        if model.name not in asleep
    )
    return State(
        catalog=Catalog(models),
        fleet=fleet,
        policy=Policy(tiers={"free": TierSettings(), "pro": tier or TierSettings()}),
        predictor=Fixed(complexity),
    )


def caller(*allowed: str) -> Caller:
    key = Key(
        key_id="key_1",
        tenant_id="ten_1",
        name="k",
        digest=b"",
        hint="",
        scopes=("inference",),
        allowed_models=allowed,
        requests_per_minute=0,
        tokens_per_minute=0,
        concurrency=0,
        created_at_ms=0,
        expires_at_ms=0,
        revoked_at_ms=0,
    )
    return Caller(key, Tenant(tenant_id="ten_1", name="t", tier="pro", created_at_ms=0))


def new_request(
    name: str = "auto", *, size: int = 100, output: int = 0, choices: int = 1, needs: str = "chat"
) -> InferenceRequest:
    return InferenceRequest(
        task=Task.GENERATE,
        model=name,
        texts=["x" * size],
        input_bytes=size,
        max_output_tokens=output,
        choices=choices,
        capabilities=frozenset(needs.split()),
    )


@pytest.mark.parametrize(
    ("complexity", "chosen"), [(0.0, "cheap"), (0.2, "cheap"), (0.21, "middle"), (0.51, "dear"), (1.0, "dear")]
)
def test_auto_takes_the_cheapest_that_is_good_enough_and_else_the_best(complexity: float, chosen: str) -> None:
    decision = decide(new_request(), caller(), state(*MODELS, complexity=complexity))
    assert decision.model is not None
    assert decision.model.name == chosen


def test_a_tier_asks_for_less_or_more() -> None:
    modest = state(*MODELS, complexity=1.0, tier=TierSettings(quality_ceiling=0.3))
    assert decide(new_request(), caller(), modest).model is MIDDLE
    proud = state(*MODELS, complexity=0.0, tier=TierSettings(quality_floor=0.6))
    assert decide(new_request(), caller(), proud).model is DEAR


def test_auto_passes_over_what_is_asleep_denied_too_short_or_unable_and_says_why() -> None:
    short = model("short", quality=1.0, read=1, write=1, context=16, output=16)
    here = state(*MODELS, short, complexity=0.4, asleep=("middle",))
    decision = decide(new_request(size=1000), caller("middle", "dear", "vectors", "short"), here, explain=True)
    assert decision.model is DEAR
    why = {option.model.name: option.rejection_reason for option in decision.considered}
    assert why["dear"] == ""
    assert "may not use" in why["cheap"]
    assert "no live engine" in why["middle"]
    assert "16 tokens" in why["short"]
    assert "cannot do chat" in why["vectors"]
    assert [endpoint.address for endpoint in decision.endpoints] == ["127.0.0.1:5002"]


def test_explaining_never_changes_the_choice() -> None:
    for complexity in (0.0, 0.3, 0.7, 1.0):
        here = state(*MODELS, complexity=complexity)
        plain, explained = decide(new_request(), caller(), here), decide(new_request(), caller(), here, explain=True)
        assert (plain.model, plain.bound_nanos) == (explained.model, explained.bound_nanos)
        assert [option.model for option in explained.considered if not option.rejection_reason] == [plain.model]


@pytest.mark.parametrize(
    ("asked", "reason", "hint"),
    [
        (new_request("chaep"), Reason.UNKNOWN_MODEL, "cheap"),
        (new_request("zzz"), Reason.UNKNOWN_MODEL, "cheap, dear"),
        (new_request("vectors"), Reason.UNSUPPORTED_CAPABILITY, "embeddings"),
        (new_request("cheap", needs="chat tools"), Reason.UNSUPPORTED_CAPABILITY, "tools"),
        (new_request(needs="grammar"), Reason.UNSUPPORTED_CAPABILITY, "grammar"),
        (new_request(size=10**6), Reason.CONTEXT_LENGTH_EXCEEDED, "1000000 bytes"),
    ],
)
def test_refusals_name_the_value_and_the_way_out(asked: InferenceRequest, reason: Reason, hint: str) -> None:
    refusal = decide(asked, caller(), state(*MODELS)).refusal
    assert refusal is not None
    assert refusal.reason is reason
    assert hint in refusal.message


def test_a_model_that_the_key_may_not_use_and_one_that_nobody_serves() -> None:
    refusal = decide(new_request("cheap"), caller("dear"), state(*MODELS)).refusal
    assert refusal is not None
    assert refusal.reason is Reason.MODEL_DENIED
    for name in ("dear", "auto"):
        refusal = decide(new_request(name), caller(), state(*MODELS, asleep=("cheap", "middle", "dear"))).refusal
        assert refusal is not None
        assert refusal.reason is Reason.NO_ENDPOINT
        assert refusal.retry_after_s


@pytest.mark.parametrize(("other_serves", "reason"), [(False, Reason.WEIGHTS_ABSENT), (True, None)])
def test_a_model_without_weights_is_refused_with_its_engines_own_words(
    other_serves: bool, reason: Reason | None
) -> None:
    engine = registry_pb2.Engine(
        engine_id="one",
        address="127.0.0.1:5000",
        models=[registry_pb2.ServedModel(name="cheap")],
        absent_models=[registry_pb2.AbsentModel(name="dear", reason="dear's weights are missing; pull them")],
        capacity=1,
    )
    other = registry_pb2.Engine(
        engine_id="two", address="127.0.0.1:5001", models=[registry_pb2.ServedModel(name="dear")], capacity=1
    )
    known = state(*MODELS)
    engines = [engine, other] if other_serves else [engine]
    known.fleet.update([registry_pb2.LiveEngine(engine=live) for live in engines])
    refusal = decide(new_request("dear"), caller(), known).refusal
    assert (None if refusal is None else refusal.reason) is reason
    assert refusal is None or refusal.message == "dear's weights are missing; pull them"


@given(
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.integers(1, 8),
    st.integers(0, 10**10),
    st.integers(0, 10**10),
    st.integers(1, 8192),
    st.data(),
)
def test_no_request_that_fits_the_context_costs_more_than_its_bound(
    size: int, output: int, choices: int, read: int, write: int, context: int, data: st.DataObject
) -> None:
    priced = model("m", read=read, write=write, context=context, output=min(64, context))
    asked = new_request("m", size=size, output=output, choices=choices)
    bound = Offer.of(priced).bound_nanos(asked)
    most = min(output or min(64, context), context)
    used = {
        UNITS["input_tokens"]: data.draw(st.integers(0, min(size, context))),
        UNITS["output_tokens"]: data.draw(st.integers(0, choices * most)),
    }
    assert cost_nanos(priced.prices, used) <= bound
    assert bound <= cost_nanos(
        priced.prices, {UNITS["input_tokens"]: context, UNITS["output_tokens"]: choices * context}
    )


def test_embeddings_are_bounded_input_by_input() -> None:
    asked = InferenceRequest(task=Task.EMBED, model="v", inputs=[10, 9000, 10], capabilities=frozenset({"embeddings"}))
    vectors = model("v", capabilities=("embeddings",), context=512, read=10**6)
    assert Offer.of(vectors).bound_nanos(asked) == 10 + 512 + 10

"""Learning from feedback: it finds the better model, within its bounds, and the same on every replica."""

from __future__ import annotations

import random

import pytest

from enginehouse.router.decision.decide import decide
from enginehouse.router.feedback import BanditArm, Ratings, pick_arm
from router.tests.harness.decision_inputs import caller, document, model, new_request, state

ARMS = [BanditArm("a", 0.5, 10), BanditArm("b", 0.5, 20), BanditArm("c", 0.5, 30)]
TRUTH = {"a": 0.55, "b": 0.75, "c": 0.65}


def simulate(*, requests: int, explore_share: float, refresh: int, seed: int) -> tuple[dict[str, int], list[float]]:
    """Requests by model, and the regret as it grows, where every answer is rated and replicas read every `refresh`."""
    dice = random.Random(seed)
    sums = {arm.model: [0.0, 0.0] for arm in ARMS}
    read: dict[str, tuple[float, float]] = {}
    counts = dict.fromkeys(TRUTH, 0)
    regret, grown = 0.0, []
    for number in range(requests):
        if number % refresh == 0:
            read = {name: (good, bad) for name, (good, bad) in sums.items()}
        place = pick_arm(ARMS, read, request_id=f"req-{seed}-{number}", explore_share=explore_share, prior_weight=10.0)
        name = ARMS[place].model
        counts[name] += 1
        good = dice.random() < TRUTH[name]
        sums[name][0 if good else 1] += 1
        regret += max(TRUTH.values()) - TRUTH[name]
        grown.append(regret)
    return counts, grown


@pytest.mark.parametrize("seed", range(5))
def test_it_converges_to_the_better_model_and_its_regret_flattens(seed: int) -> None:
    _, grown = simulate(requests=6000, explore_share=0.2, refresh=50, seed=seed)
    # Without learning a third of the requests would go to each model, for a regret of 0.1 a request.
    assert grown[-1] < 0.6 * 0.1 * 6000
    # At last nearly all go to the better one, and the regret grows no more.
    assert grown[-1] - grown[4000] < 0.05 * 0.1 * 2000


def test_without_exploring_it_may_never_learn_and_that_is_the_policys_choice() -> None:
    counts, _ = simulate(requests=2000, explore_share=0.0, refresh=10, seed=1)
    # It goes by what it was told so far, and never tries what looks worse.
    assert sum(counts.values()) == 2000
    assert pick_arm(ARMS, {}, request_id="x", explore_share=0.0, prior_weight=10.0) == 0


def test_no_more_than_the_share_explores() -> None:
    ratings = {"a": (900.0, 100.0), "b": (10.0, 12.0), "c": (9.0, 11.0)}
    for share in (0.0, 0.1, 0.5):
        tried = sum(
            pick_arm(ARMS, ratings, request_id=f"r{number}", explore_share=share, prior_weight=10.0) != 0
            for number in range(4000)
        )
        assert tried <= share * 4000 * 1.1


def test_the_same_request_is_decided_alike_everywhere() -> None:
    def picks() -> list[int]:
        return [
            pick_arm(ARMS, {"b": (3.0, 1.0)}, request_id=f"r{number}", explore_share=1.0, prior_weight=10.0)
            for number in range(200)
        ]

    first = picks()
    assert first == picks()
    assert set(first) == {0, 1, 2}


def test_feedback_moves_auto_only_where_the_policy_lets_it() -> None:
    models = [
        model("cheap", quality=0.3, price=1 * 10**6),
        model("fine", quality=0.5, price=2 * 10**6),
        model("dear", quality=0.9, price=9 * 10**6),
    ]
    praise = Ratings({30.0: {"generate/0": {"fine": (500.0, 0.0), "dear": (500.0, 0.0)}}})

    def choice(**bandit: object) -> tuple[str, str]:
        here = state(models, document(bandit=bandit), complexity=0.2)
        here.ratings = praise
        decision = decide(new_request(), caller(), here, request_id="r1", explain=True)
        assert decision.model is not None
        return decision.model.name, decision.rule

    assert choice(enabled=False, max_price_factor=100)[0] == "cheap"
    assert choice(enabled=True, max_price_factor=1.5)[0] == "cheap"
    chosen, rule = choice(enabled=True, max_price_factor=3)
    assert chosen == "fine"
    assert rule == "feedback on answers in the class generate/0 speaks for fine"
    assert choice(enabled=True, max_price_factor=100, quality_ceiling=0.8)[0] == "fine"
    # Other prompts have feedback of their own.
    here = state(models, document(bandit={"enabled": True, "max_price_factor": 3}), complexity=0.3)
    here.ratings = praise
    elsewhere = decide(new_request(), caller(), here, request_id="r1")
    assert elsewhere.prompt_class == "generate/1"
    assert elsewhere.model is not None
    assert elsewhere.model.name == "fine"

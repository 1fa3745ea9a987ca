"""The choice of the model that serves a request. Pure: no I/O, no clock, no state, and a frozen decision.

`auto` takes the cheapest model that can do what is asked, fits the prompt, is alive, is allowed, and is as good as the
policy asks for the request and the prompt's complexity; where none is good enough, the best that is left. A policy may
name models to take first, learn from feedback within bounds, and say what to fall back to.
"""

from __future__ import annotations

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.decision.decision import Candidate, ConsideredModel, Decision, State
from enginehouse.router.decision.explain import compare_with_single_model
from enginehouse.router.decision.explain import explain as explain_choice
from enginehouse.router.decision.selector import ModelSelector, rough_tokens
from enginehouse.router.identity import Caller
from enginehouse.router.policy import tasks_of
from enginehouse.router.request import InferenceRequest

__all__ = ["Candidate", "ConsideredModel", "Decision", "State", "decide"]


def decide(
    request: InferenceRequest, caller: Caller, state: State, *, request_id: str = "", explain: bool = False
) -> Decision:
    """Return the model that serves a request, on which endpoints, and what it may cost at most.

    It takes under 20 us for a named model and 1 KB of prompt, under 100 us for `auto` over a handful of models.

    Args:
        request: the request.
        caller: whose it is.
        state: what there is.
        request_id: by which a request is chosen to explore, where the policy learns; without it none does.
        explain: whether to give the reason why every other model was rejected. It changes nothing else.
    """
    task = request.policy_task or tasks_of(request.task)[0]
    subject = request.subject or state.policy.subject_of(caller, request.texts)
    rules = state.policy.rules(caller, task=task, subject=subject)
    free = request.model == "auto"
    prediction, quality_needed = None, 0.0
    if explain or free:
        prediction = state.predictor.predict(request.texts or [""])
        quality_needed = rules.quality_needed(prediction.complexity)
    selector = ModelSelector(
        request, caller, state, rules=rules, task=task, prediction=prediction, quality_needed=quality_needed
    )
    if free:
        selector.choose(request_id)
    else:
        selector.take_named()
    candidates, refusal, tokens = tuple(selector.candidates), selector.refusal, 0
    rule, considered = explain_choice(selector) if explain else ("", ())
    if candidates:
        tokens = rough_tokens(request, candidates[0].offer)
        if any(candidate.bound_nanos > MAX_NANOS for candidate in candidates):
            refusal = ServiceError(
                Reason.INVALID_REQUEST,
                f"the request could cost more than {MAX_NANOS} nano-dollars; ask for less output",
            )
    return Decision(
        rules=rules,
        task=task,
        subject=subject,
        candidates=candidates,
        refusal=refusal,
        tokens=tokens,
        prediction=prediction,
        quality_needed=quality_needed,
        rule=rule,
        considered=considered,
        languages=selector.language.languages,
        language_detected=selector.language.detected,
        single_model=compare_with_single_model(selector) if explain else None,
    )

"""Which model serves a request, on which endpoints, and what it may cost at most. Pure: no I/O, no clock, no state.

`auto` takes the cheapest model that can do what is asked, fits the prompt, is alive, is allowed, and is as good as the
policy asks for the request and the prompt's complexity; where none is good enough, the best that is left. A policy may
name models to take first, learn from feedback within bounds, and say what to fall back to.
"""

from __future__ import annotations

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.router.decision.decision import Candidate, Decision, State, Weighed
from enginehouse.router.decision.explain import explain as explain_choice
from enginehouse.router.decision.selector import ModelSelector, rough_tokens
from enginehouse.router.identity import Caller
from enginehouse.router.request import InferenceRequest, Purpose

_TASKS_OF_THEIR_OWN = (Purpose.EMBED, Purpose.SPEAK, Purpose.LISTEN)

__all__ = ["Candidate", "Decision", "State", "Weighed", "decide"]


def decide(
    ask: InferenceRequest, caller: Caller, state: State, *, request_id: str = "", explain: bool = False
) -> Decision:
    """Decides. Under 20 us for a named model and 1 KB of prompt, under 100 us for `auto` over a handful of models.

    Args:
        ask: the request.
        caller: whose it is.
        state: what there is.
        request_id: by which a request is chosen to explore, where the policy learns; without it none does.
        explain: whether to say of every model why it was passed over. It changes nothing else.
    """
    task = ask.task or (ask.purpose.value if ask.purpose in _TASKS_OF_THEIR_OWN else "generate")
    subject = ask.subject or state.policy.subject_of(caller, ask.texts)
    rules = state.policy.rules(caller, task=task, subject=subject)
    decision = Decision(rules, task, subject)
    free = ask.model == "auto"
    if explain or free:
        decision.prediction = state.predictor.predict(ask.texts or [""])
        decision.quality_needed = rules.quality_needed(decision.prediction.complexity)
    choice = ModelSelector(ask, caller, state, decision)
    if free:
        choice.choose(request_id)
    else:
        choice.take_named()
    if explain:
        explain_choice(choice)
    if decision.candidates:
        decision.tokens = rough_tokens(ask, decision.candidates[0].offer)
        if decision.bound_nanos > MAX_NANOS:
            decision.refusal = ServiceError(
                Reason.INVALID_REQUEST,
                f"the request could cost more than {MAX_NANOS} nano-dollars; ask for less output",
            )
    return decision

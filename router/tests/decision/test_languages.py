"""`auto` takes a model that knows the language asked for, and has the voice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.api.common.v1.usage_pb2 import UNIT_CHARACTERS
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.request import InferenceRequest, Task
from router.tests.harness.decision_inputs import caller, document, fleet, model, new_request, state

ENGLISH = model("english", quality=0.3, price=10**6, languages=("en",))
INDIAN = model("indian", quality=0.1, price=3 * 10**6, languages=("en-IN", "te", "hi"))
ANY = model("any", quality=0.2, price=5 * 10**6)
WRITERS = (ENGLISH, INDIAN, ANY)


def speaker(name: str, *, quality: float, price: int, languages: tuple[str, ...] = ()) -> CatalogModel:
    made = model(name, quality=quality, capabilities=("speech",), languages=languages)
    return dataclasses.replace(made, prices={UNIT_CHARACTERS: price})


ROBOT = speaker("robot", quality=0.1, price=10**8)
PIPER = speaker("piper", quality=0.5, price=10**9, languages=("en-US",))
VOICES = {"robot": ("te", "en-us", "af", "Otto", "+f2"), "piper": ("joe", "ryan")}
LANGUAGES = {"robot": ("te", "en-us", "af", "fr-fr"), "piper": ("de",)}


def chosen(request: InferenceRequest, here: State) -> str:
    found = decide(request, caller(), here).model
    assert found is not None
    return found.name


def reasons(request: InferenceRequest, here: State) -> dict[str, str]:
    return {
        other.model.name: other.rejection_reason for other in decide(request, caller(), here, explain=True).considered
    }


def speakers(*models: CatalogModel, complexity: float = 0.0) -> State:
    here = state(models or (ROBOT, PIPER), complexity=complexity)
    here.fleet = fleet(models or (ROBOT, PIPER), languages=LANGUAGES, voices=VOICES)
    return here


def speech(name: str = "auto", **fields: Any) -> InferenceRequest:
    units = {UNIT_CHARACTERS: 100}
    return InferenceRequest(task=Task.SPEAK, model=name, capabilities=frozenset({"speech"}), units=units, **fields)


@pytest.mark.parametrize(
    ("language", "expected"),
    [("", "english"), ("en", "english"), ("en-GB", "english"), ("te", "indian"), ("te-IN", "indian"), ("fr", "any")],
)
def test_the_cheapest_of_those_that_write_the_language_is_taken(language: str, expected: str) -> None:
    assert chosen(new_request(language=language), state(WRITERS)) == expected


def test_quality_is_asked_for_among_those_that_write_the_language() -> None:
    here = state((ENGLISH, INDIAN), complexity=1.0)
    assert chosen(new_request(), here) == "english"
    assert chosen(new_request(language="te"), here) == "indian"


def test_a_rejected_model_is_said_not_to_know_the_language() -> None:
    told = reasons(new_request(language="te"), state(WRITERS))
    assert (told["english"], told["indian"]) == ("it does not write te", "")
    assert "nano-dollars" in told["any"]
    decision = decide(new_request(language="te"), caller(), state(WRITERS), explain=True)
    assert decision.languages == ("te",)
    assert decision.rule == "indian is the cheapest that is good enough of those that write te"


def test_a_language_that_no_model_knows_is_refused() -> None:
    refusal = decide(new_request(language="fr"), caller(), state((ENGLISH, INDIAN))).refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNSUPPORTED_CAPABILITY
    assert refusal.message == "no model that this key may use can write 'fr'; ask for one of en, en-IN, hi, te"


def test_a_refusal_lists_at_most_a_dozen_languages() -> None:
    tags = tuple(f"{first}{second}" for first in "abc" for second in "abcdefgh")
    refusal = decide(new_request(language="zz"), caller(), state([model("m", languages=tags)])).refusal
    assert refusal is not None
    assert refusal.message.endswith("and 12 more")


def test_a_language_whose_only_model_is_away_may_come_back() -> None:
    refusal = decide(new_request(language="te"), caller(), state((ENGLISH, INDIAN), asleep=("indian",))).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after_s) == (Reason.NO_ENDPOINT, 1.0)
    denied = state((ENGLISH, INDIAN), document(everyone={"deny": ["indian"]}), asleep=("indian",))
    refusal = decide(new_request(language="te"), caller(), denied).refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNSUPPORTED_CAPABILITY


def test_a_named_model_is_never_overridden() -> None:
    assert chosen(new_request("english", language="te"), state(WRITERS)) == "english"
    assert chosen(speech("piper", voice="te", language="te"), speakers()) == "piper"


@pytest.mark.parametrize("name", ["auto", "indian"])
def test_no_fallback_leaves_the_language(name: str) -> None:
    chain = {"model": "indian", "models": ["english", "any"], "for_named": True}
    here = state(WRITERS, document(fallbacks=[chain]))
    decision = decide(new_request(name, language="te"), caller(), here)
    assert [candidate.model.name for candidate in decision.candidates] == ["indian", "any"]


def test_a_policy_cannot_prefer_a_model_that_does_not_know_the_language() -> None:
    here = state(WRITERS, document(everyone={"prefer": ["english"]}))
    assert chosen(new_request(), here) == "english"
    assert chosen(new_request(language="te"), here) == "indian"


def test_the_catalog_goes_before_what_engines_declare() -> None:
    here = speakers()
    assert here.languages_of(PIPER).tags == ("en-US",)
    assert here.languages_of(ROBOT).tags == ("te", "en-us", "af", "fr-fr")


def test_engines_of_one_model_declare_together() -> None:
    here = speakers()
    first, second = fleet([ROBOT], languages={"robot": ["te"]}), fleet([ROBOT], languages={"robot": ["hi", "te"]})
    live = [known.live for found in (first, second) for known in found._known.values()]
    live[1].engine.engine_id = "another"
    here.fleet.update(live)
    assert here.languages_of(ROBOT).tags == ("te", "hi")
    here.fleet.update(live[:1])
    assert here.languages_of(ROBOT).tags == ("te",)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "robot"),
        ({"voice": "joe"}, "piper"),
        ({"voice": "JOE"}, "piper"),
        ({"voice": "otto"}, "robot"),
        ({"voice": "te+f2"}, "robot"),
        ({"voice": "te-IN"}, "robot"),
        ({"voice": "fr"}, "robot"),
        ({"voice": "en-us", "language": "en"}, "robot"),
        ({"voice": "joe", "language": "te"}, "piper"),
        ({"voice": "nobody"}, "robot"),
        ({"voice": "nobody", "language": "en"}, "robot"),
        ({"voice": "xx"}, "robot"),
        ({"voice": "alloy"}, "robot"),
        ({"voice": "nova", "language": "te"}, "robot"),
    ],
)
def test_a_voice_picks_the_model_that_has_it(fields: dict[str, str], expected: str) -> None:
    assert chosen(speech(**fields), speakers()) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "piper"),
        ({"voice": "af"}, "robot"),
        ({"voice": "alloy"}, "piper"),
        ({"language": "te"}, "robot"),
        ({"language": "en"}, "piper"),
        ({"voice": "+f2"}, "robot"),
    ],
)
def test_a_better_model_gives_way_to_one_that_suits(fields: dict[str, str], expected: str) -> None:
    assert chosen(speech(**fields), speakers(complexity=1.0)) == expected


def test_words_in_other_letters_ask_for_a_model_that_speaks_them_too() -> None:
    here = speakers(complexity=1.0)
    assert chosen(speech(spoken_text="The crow flew away over the field."), here) == "piper"
    mixed = speech(spoken_text="The word కాకి is what we say for a crow.")
    assert chosen(mixed, here) == "robot"
    assert reasons(mixed, here)["piper"] == "it does not speak te"
    # Where no model speaks them the language decides.
    assert chosen(speech(spoken_text="The word ขอบคุณ is what we say for thanks."), here) == "piper"


def test_explanations_say_what_a_model_lacks() -> None:
    here = speakers()
    assert reasons(speech(voice="joe"), here)["robot"] == "it has no voice joe"
    assert reasons(speech(voice="fr"), here)["piper"] == "it does not speak fr"
    assert reasons(speech(language="te"), here)["piper"] == "it does not speak te"


def test_listening_asks_for_ears() -> None:
    ears = model("ears", capabilities=("transcription",), languages=("en",))
    request = InferenceRequest(task=Task.TRANSCRIBE, capabilities=frozenset({"transcription"}), language="te")
    refusal = decide(request, caller(), state([ears])).refusal
    assert refusal is not None
    assert "can hear 'te'" in refusal.message


TAGS = st.sampled_from(["en", "en-GB", "te", "hi-IN", "fr", "zh-Hant", "cmn"])


@settings(max_examples=200)
@given(
    declared=st.lists(st.lists(TAGS, unique=True, max_size=3), min_size=1, max_size=5),
    asked=TAGS,
    denied=st.integers(0, 4),
    chain=st.lists(st.integers(0, 4), max_size=4, unique=True),
)
def test_every_choice_and_fallback_knows_the_language(
    declared: Sequence[Sequence[str]], asked: str, denied: int, chain: Sequence[int]
) -> None:
    models = [model(f"m{i}", price=i * 10**6, languages=tuple(tags)) for i, tags in enumerate(declared)]
    names = [served.name for served in models]
    rules: Mapping[str, Any] = {"everyone": {"deny": [f"m{denied}"]}}
    chains = [{"model": name, "models": [f"m{i}" for i in chain if i < len(names)] or names[:1]} for name in names]
    decision = decide(new_request(language=asked), caller(), state(models, document(**rules, fallbacks=chains)))
    same = {"cmn": "zh", "zh-Hant": "zh", "en-GB": "en", "hi-IN": "hi"}

    def knows(tags: Sequence[str]) -> bool:
        return not tags or same.get(asked, asked) in {same.get(tag, tag) for tag in tags}

    able = [served.name for served in models if knows(served.languages) and served.name != f"m{denied}"]
    assert {candidate.model.name for candidate in decision.candidates} <= set(able)
    assert bool(decision.candidates) == bool(able)
    assert (decision.refusal is None) == bool(able)

"""The language of a text, where none is asked for; no verdict is better than a wrong one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.catalog import CatalogModel
from enginehouse.router.decision.decide import decide
from enginehouse.router.decision.detection import detect_languages
from enginehouse.router.request import InferenceRequest, Task
from router.tests.harness.decision_inputs import caller, document, model, new_request, state

STORY = "Tell me a story about a clever crow who lived by the river and helped a farmer."
HISTOIRE = "Raconte-moi une histoire sur un corbeau malin qui vivait près de la rivière."
TELUGU = "ఒక తెలివైన కాకి గురించి కథ చెప్పు"

ENGLISH = model("english", quality=0.3, price=10**6, languages=("en",))
BOTH = model("both", quality=0.1, price=3 * 10**6, languages=("en", "te"))
FRENCH = model("french", quality=0.1, price=5 * 10**6, languages=("fr",))
MODELS = (ENGLISH, BOTH, FRENCH)


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        (TELUGU, ("te",)),
        (f"Summarise: {TELUGU}", ("te",)),
        ("தமிழ் கதை", ("ta",)),
        ("한국어", ("ko",)),
        ("ひらがな", ("ja",)),
        ("Ελληνικά", ("el",)),
        (STORY, ("en",)),
        (HISTOIRE, ("fr",)),
        ("Erzähl mir eine Geschichte über eine kluge Krähe, die am Fluss wohnte.", ("de",)),
        ("Cuéntame una historia sobre un cuervo inteligente que vivía junto al río.", ("es",)),
        ("Расскажи мне историю об умной вороне, которая жила у реки.", ("ru",)),
        ("मुझे एक चतुर कौवे की कहानी सुनाओ जो नदी के किनारे रहता था।", ("hi",)),
    ],
)
def test_languages_are_told_by_letters_and_words(text: str, languages: tuple[str, ...]) -> None:
    assert detect_languages([text]) == languages


def test_a_word_in_shared_letters_may_be_in_any_of_their_languages() -> None:
    found = detect_languages(["नमः"])
    assert {"hi", "mr", "ne", "sa"} <= set(found)
    assert "te" not in found


@pytest.mark.parametrize(
    "text",
    [
        *("", "Hi", "hello", "ok", "42", "?!", "json", "I am", "no", "Write a poem", "Name a color", "Who was Goethe?"),
        *("def f(x):", "def f(x):\n    return x + 1", "SELECT * FROM users;", "import numpy as np\nprint(np.zeros(3))"),
        *("Tell me a story about a clever crow", "What is 2+2?", "Write me a haiku about Paris", "git commit -m 'fix'"),
        *("Translate to Telugu: good morning", "http://example.com/index.html", "Recommend a restaurant in Rome"),
        *(
            "Dr. Müller arrived in München",
            "Draft an email to Jean-Pierre about the menu du jour",
            "\x00\x01",
            "\ud800",
        ),
    ],
)
def test_a_short_english_prompt_is_never_taken_for_another_language(text: str) -> None:
    assert detect_languages([text]) in ((), ("en",))


@given(st.text())
def test_any_text_has_a_verdict_or_none(text: str) -> None:
    assert all(language == language.lower() for language in detect_languages([text]))


def test_the_last_texts_of_a_conversation_decide() -> None:
    assert detect_languages([TELUGU, STORY]) == ("te",)
    assert detect_languages(["42", TELUGU, STORY]) == ("te",)
    assert detect_languages(["42", "?", "-", TELUGU]) == ()


def chosen(text: str, models: Sequence[CatalogModel] = MODELS, language: str = "") -> str:
    found = decide(new_request(text=text, language=language), caller(), state(models)).model
    assert found is not None
    return found.name


def test_a_prompt_is_served_in_its_own_language() -> None:
    assert [chosen(text) for text in (STORY, TELUGU, HISTOIRE)] == ["english", "both", "french"]


def test_a_language_that_is_asked_for_goes_before_the_detected_one() -> None:
    assert chosen(STORY, language="te") == "both"


def test_a_detected_language_that_no_model_knows_rules_nothing_out() -> None:
    assert chosen("தமிழ் கதை") == "english"
    decision = decide(new_request(text="தமிழ் கதை"), caller(), state(MODELS), explain=True)
    assert (decision.languages, decision.language_detected) == ((), False)


def test_a_model_that_declares_nothing_may_know_it() -> None:
    undeclared = model("any", quality=0.2, price=10**7)
    assert chosen(TELUGU, (ENGLISH, undeclared)) == "any"
    assert chosen(STORY, (ENGLISH, undeclared)) == "english"


def test_fallbacks_keep_to_the_detected_language() -> None:
    here = state(MODELS, document(fallbacks=[{"model": "both", "models": ["english", "french"]}]))
    decision = decide(new_request(text=TELUGU), caller(), here, explain=True)
    assert [candidate.model.name for candidate in decision.candidates] == ["both"]
    assert (decision.languages, decision.language_detected) == (("te",), True)
    rejected = {other.model.name: other.rejection_reason for other in decision.considered}
    assert rejected == {"both": "", "english": "it does not write te", "french": "it does not write te"}


def test_what_is_to_be_spoken_is_looked_at_too() -> None:
    voices = [dataclasses.replace(writer, capabilities=frozenset({"speech"})) for writer in MODELS]
    asked = InferenceRequest(task=Task.SPEAK, capabilities=frozenset({"speech"}), spoken_text=TELUGU)
    found = decide(asked, caller(), state(voices)).model
    assert found is not None
    assert found.name == "both"

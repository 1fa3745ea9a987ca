"""The models that `auto` takes by tier, of those of a fresh installation."""

from __future__ import annotations

import dataclasses

import pytest

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.pricing import Unit
from enginehouse.router.decision.decide import decide
from enginehouse.router.predictor import load_predictor
from enginehouse.router.request import InferenceRequest, Task
from enginehouse.router.settings import RouterSettings
from router.tests.harness.decision_inputs import caller, model, new_request, state

TRIVIAL = "Tell me a story about a clever crow"
COMPLEX = "Prove that every bounded sequence of real numbers has a convergent subsequence; derive each step. " * 3


def voice(name: str, *, quality: float, price: int, unit: Unit, languages: tuple[str, ...] = ()) -> CatalogModel:
    capability = "speech" if unit == UNIT_CHARACTERS else "transcription"
    made = model(name, quality=quality, capabilities=(capability,), languages=languages)
    return dataclasses.replace(made, prices={unit: price})


MODELS = [
    model("tiny", quality=0.1, price=10**7, languages=("en", "te")),
    model("smollm2", quality=0.3, price=10**8, languages=("en",)),
    voice("espeak", quality=0.15, price=10**8, unit=UNIT_CHARACTERS),
    voice("piper", quality=0.5, price=10**9, unit=UNIT_CHARACTERS, languages=("en",)),
    voice("sphinx", quality=0.1, price=10**7, unit=UNIT_AUDIO_MILLISECONDS, languages=("en",)),
    voice("whisper", quality=0.5, price=10**8, unit=UNIT_AUDIO_MILLISECONDS),
]
TIERS = RouterSettings.model_fields["tiers"].get_default(call_default_factory=True)
SPEECH = InferenceRequest(task=Task.SPEAK, capabilities=frozenset({"speech"}), units={UNIT_CHARACTERS: 99})
RECORDING = InferenceRequest(
    task=Task.TRANSCRIBE, capabilities=frozenset({"transcription"}), units={UNIT_AUDIO_MILLISECONDS: 9000}
)


def chosen(request: InferenceRequest, tier: str) -> str:
    here = state(MODELS, tiers=TIERS)
    here.predictor = load_predictor()
    found = decide(request, caller(tier=tier), here).model
    assert found is not None
    return found.name


@pytest.mark.parametrize(
    ("tier", "trivial", "demanding", "speech", "recording"),
    [
        ("free", "tiny", "smollm2", "espeak", "sphinx"),
        ("starter", "smollm2", "smollm2", "piper", "whisper"),
        ("pro", "smollm2", "smollm2", "piper", "whisper"),
        ("enterprise", "smollm2", "smollm2", "piper", "whisper"),
    ],
)
def test_the_cheap_models_are_for_the_free_tier(
    tier: str, trivial: str, demanding: str, speech: str, recording: str
) -> None:
    assert chosen(new_request(text=TRIVIAL), tier) == trivial
    assert chosen(new_request(text=COMPLEX), tier) == demanding
    assert chosen(SPEECH, tier) == speech
    assert chosen(RECORDING, tier) == recording


@pytest.mark.parametrize("tier", TIERS)
def test_where_none_is_good_enough_the_best_of_the_language_is_taken(tier: str) -> None:
    assert chosen(new_request(text=COMPLEX, language="te"), tier) == "tiny"
    assert chosen(dataclasses.replace(SPEECH, language="te"), tier) == "espeak"
    assert chosen(dataclasses.replace(RECORDING, language="te"), tier) == "whisper"

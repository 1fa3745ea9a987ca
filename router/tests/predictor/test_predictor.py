"""The promises of the learned predictor: its order, its bounds, and an artefact that is checked before it is used."""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.config import ConfigError
from enginehouse.router.predictor import SHIPPED, LearnedPredictor, load_predictor
from enginehouse.router.predictor.complexity import Prediction

EASY_SUM = "Tom has 3 apples and buys 4. How many apples does Tom have?"
HARD_SUM = (
    "Tom sells apples at $3 each and pears at twice that price. On Monday he sold 12 apples and half as many pears, "
    "and on Tuesday 25% more of each than on Monday. If he spends a third of what he earned on seeds and divides the "
    "rest equally between his 2 brothers, how much more does each brother get than Tom paid for seeds?"
)


@pytest.fixture(scope="module")
def predictor() -> LearnedPredictor:
    return load_predictor()


def complexity(predictor: LearnedPredictor, *texts: str) -> float:
    return predictor.predict(texts).complexity


def features(predictor: LearnedPredictor, text: str) -> dict[str, float]:
    return dict(predictor.predict([text]).features)


def test_prompts_are_ranked_as_people_would(predictor: LearnedPredictor) -> None:
    greeting = complexity(predictor, "hello there")
    story = complexity(predictor, "Tell me a story about a clever crow who lived by the river.")
    code = complexity(
        predictor, "```python\ndef f(x):\n    return {k: v for k, v in x.items()}\n```\nExplain why this fails."
    )
    proof = complexity(
        predictor, "Prove that √2 is irrational, derive each step and justify why x^2 = 2*y^2 is a contradiction."
    )
    assert 0 < greeting < story < min(code, proof) < 1
    assert complexity(predictor, EASY_SUM) < complexity(predictor, HARD_SUM)


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        ("Which singer recorded this famous song?", "Which integral of this function converges?"),
        ("Which team won the football championship?", "Which ion is reduced in this electrolysis?"),
        ("Which of these did the president sign?", "Which of these did the defendant breach in tort?"),
        ("What do brothers buy for a birthday?", "What voltage does the capacitor hold then?"),
    ],
)
def test_exact_fields_need_more_than_recall(predictor: LearnedPredictor, easier: str, harder: str) -> None:
    assert abs(len(easier) - len(harder)) < 12
    assert complexity(predictor, easier) < complexity(predictor, harder)


def test_the_field_spoken_of_is_told(predictor: LearnedPredictor) -> None:
    features = dict(predictor.predict(["The landlord sued the tenant for breach of the lease."]).features)
    assert features["field.law"] > 0.5
    assert 0 <= features["need"] <= 1


def test_longer_is_not_easier(predictor: LearnedPredictor) -> None:
    sentence = "The tenant asked the landlord whether the lease could be changed. "
    last = 0.0
    for times in (1, 2, 4, 8, 40, 400, 4000):
        now = complexity(predictor, sentence * times)
        assert now > last
        last = now


def test_worked_examples_before_the_question_do_not_count(predictor: LearnedPredictor) -> None:
    examples = "".join(f"Question: What is {n} times {n}?\nAnswer: {n * n}\n\n" for n in range(5))
    assert complexity(predictor, f"{examples}Question: {HARD_SUM}") == complexity(predictor, HARD_SUM)
    shots = "The capital of Spain?\nAnswer: Madrid\n\nThe capital of Peru?\nAnswer: Lima\n\n"
    assert complexity(predictor, f"{shots}{HARD_SUM}\nAnswer:") == pytest.approx(
        complexity(predictor, f"{HARD_SUM}\nAnswer:")
    )


def test_numeric_options_are_seen(predictor: LearnedPredictor) -> None:
    numeric = features(predictor, "What is the result?\nA. 12\nB. $15\nC. -3.5\nD. none")
    assert numeric["options"] == 1
    assert numeric["numeric_options"] == 0.75
    assert features(predictor, "What is the result? 12 or 15")["options"] == 0


def test_sums_told_as_stories_are_told_apart(predictor: LearnedPredictor) -> None:
    assert features(predictor, HARD_SUM)["sums"] > 0.8
    assert features(predictor, "Who wrote the novel about a whale in 1851?")["sums"] < 0.3
    assert features(predictor, "hello")["sums"] == 0


def test_numbers_to_choose_from_are_no_story(predictor: LearnedPredictor) -> None:
    asked = "How many books does the first part of the scripture have?"
    assert features(predictor, f"{asked}\nA. 3\nB. 5\nC. 7\nD. 12")["sums"] == 0
    assert features(predictor, f"{HARD_SUM}\nA. $3\nB. $4\nC. $5\nD. $6")["sums"] > 0.8


def test_judging_two_scenarios_needs_more_than_arguing_about_morals(predictor: LearnedPredictor) -> None:
    scenarios = "In which scenarios does the character do what is clearly morally wrong by ordinary standards?"
    argument = "Which of these arguments against euthanasia does the philosopher take to be the weakest of them all?"
    assert complexity(predictor, scenarios) > complexity(predictor, argument)


def test_words_are_counted_in_their_groups(predictor: LearnedPredictor) -> None:
    counted = features(predictor, "She has half as many as he has, and a quarter more than they had: 12% of 1,200.5.")
    assert counted["people"] == pytest.approx(math.log1p(3))
    assert counted["comparisons"] == pytest.approx(math.log1p(4))
    assert counted["fractions"] == pytest.approx(math.log1p(2))
    assert counted["percentages"] == counted["durations"] + math.log1p(1)
    assert counted["numbers"] == pytest.approx(math.log1p(2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\x1b[2J" * 100,
        "x" * 1_000_000,
        "1" * 100_000,
        "\ud800",
        "a:\n" * 50_000,
        "\nQ:" * 50_000,
        "😀" * 9000,
    ],
)
def test_no_prompt_is_too_odd(predictor: LearnedPredictor, text: str) -> None:
    prediction = predictor.predict([text])
    assert 0 < prediction.complexity < 1
    assert all(math.isfinite(value) for _, value in prediction.features)


@given(st.lists(st.text(), max_size=20))
def test_any_text_has_a_complexity_and_always_the_same(texts: list[str]) -> None:
    one, other = _SHARED.predict(texts), _SHARED.predict(texts)
    assert 0 < one.complexity < 1
    assert one == other


_SHARED = load_predictor()


def test_other_scripts_have_an_order_too(predictor: LearnedPredictor) -> None:
    short = "నమస్కారం"
    long = "ఒక ఊరిలో ఒక కాకి ఉండేది. అది రోజూ నది ఒడ్డున రైతులకు సాయం చేసేది. ఈ కథను పూర్తి చేసి, దాని నీతిని వివరించండి."
    assert complexity(predictor, short) < complexity(predictor, long) < 0.6


def test_only_the_ends_of_long_prompts_are_read(predictor: LearnedPredictor) -> None:
    middle = "Prove the theorem about the integral. "
    filler = "The crow sat by the river. " * 200
    plain = dict(predictor.predict([filler + "-" * 38 * 300 + filler]).features)
    hidden = dict(predictor.predict([filler + middle * 300 + filler]).features)
    assert plain == hidden
    many = dict(predictor.predict(["word " * 1000] * 3000).features)
    assert many["length"] == pytest.approx(math.log1p(15_000_000))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_better_model_suffices_rather_and_a_harder_prompt_less(a: float, b: float, c: float, d: float) -> None:
    low, high = sorted((a, b))
    easy, hard = sorted((c, d))
    assert 0 <= Prediction(easy, ()).suffices(low) <= Prediction(easy, ()).suffices(high) <= 1
    assert Prediction(hard, ()).suffices(low) <= Prediction(easy, ()).suffices(low)


def test_complexity_is_the_chance_that_a_middling_model_fails() -> None:
    prediction = Prediction(0.3, (), steepness=4.0, middle=0.5)
    assert prediction.suffices(0.5) == pytest.approx(0.7)
    # Log-odds grow by steepness times quality: ln(7/3) + 4 * 0.25.
    assert prediction.suffices(0.75) == pytest.approx(1 / (1 + math.exp(-(math.log(7 / 3) + 1))))


def test_the_shipped_artefact_is_small_and_holds_no_code() -> None:
    assert SHIPPED.stat().st_size < 1 << 20
    with np.load(SHIPPED, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"settings", "words", "fields", "affinities", "needs"}


def test_a_missing_artefact_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_predictor(tmp_path / "none.npz")


def _rewritten(tmp_path: Path, name: str, change: object) -> Path:
    path = tmp_path / "changed.npz"
    with np.load(SHIPPED) as arrays:
        held = {key: arrays[key] for key in arrays.files}
    if callable(change):
        held[name] = change(held[name])
    else:
        del held[name]
    np.savez(path, **held)
    return path


def _settings(**changes: object) -> object:
    def change(array: np.ndarray) -> np.ndarray:
        return np.frombuffer(json.dumps(json.loads(array.tobytes()) | changes).encode(), np.uint8)

    return change


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("words", None, "words"),
        ("settings", lambda array: array[:-5], "JSON|unexpected"),
        ("settings", _settings(format=2), "format is 2"),
        ("settings", _settings(scale="big"), "finite"),
        ("settings", _settings(weights={}), "knowledge"),
        ("affinities", lambda array: array[1:], "affinities are"),
        ("affinities", lambda array: array.astype(np.float32), "affinities are"),
        ("needs", lambda array: array * 9, "from 0 to 1"),
        ("needs", lambda array: array * np.float32("nan"), "from 0 to 1"),
    ],
)
def test_a_wrong_artefact_is_told(tmp_path: Path, name: str, change: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_predictor(_rewritten(tmp_path, name, change))


@pytest.mark.parametrize("content", [b"", b"not an artefact", b"PK\x03\x04", SHIPPED.read_bytes()[:100_000]])
def test_a_damaged_artefact_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="can't be used"):
        load_predictor(path)


def test_a_flipped_byte_is_told(tmp_path: Path) -> None:
    raw = bytearray(SHIPPED.read_bytes())
    with zipfile.ZipFile(SHIPPED) as file:
        at = file.getinfo("affinities.npy").header_offset
    raw[at + 5000] ^= 0xFF
    path = tmp_path / "flipped.npz"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match="can't be used"):
        load_predictor(path)


def test_a_router_does_not_start_with_a_damaged_artefact(tmp_path: Path) -> None:
    (tmp_path / "grants").write_text(f"k1:{base64.b64encode(bytes(32)).decode()}\n")
    (tmp_path / "pepper").write_bytes(bytes(range(32)))
    (tmp_path / "catalog.yaml").write_text("models: []\n")
    (tmp_path / "broken.npz").write_bytes(b"broken")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""router:
  http_listen: 127.0.0.1:0
  grpc_listen: 127.0.0.1:0
  admin_http_listen: 127.0.0.1:0
  gateway_address: 127.0.0.1:1
  database_url: postgresql://nobody@127.0.0.1:1/nothing
  grant_keys_file: {tmp_path}/grants
  key_pepper_file: {tmp_path}/pepper
  catalog_file: {tmp_path}/catalog.yaml
  predictor_file: {tmp_path}/broken.npz
"""
    )
    ran = subprocess.run(
        [sys.executable, "-m", "enginehouse.router", "serve", "--config", str(config)],
        env={},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 2
    assert f"artefact {tmp_path}/broken.npz can't be used" in ran.stderr

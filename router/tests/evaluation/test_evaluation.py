"""The evaluation's arithmetic against cases worked by hand, its laws, and what it says to bad input."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.router.__main__ import main
from enginehouse.router.evaluation import Answers, BadAnswers, Ranking, apgr, cpt, evaluate, read_answers
from enginehouse.router.predictor.complexity import Prediction


class Given:
    """A predictor that reads its prediction from the prompt."""

    def predict(self, texts: Sequence[str]) -> Prediction:
        """A complexity written in the prompt."""
        return Prediction(float(texts[0]), ())


def curve(scores: Sequence[float], gains: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    return Ranking(np.array(scores, float), np.array(gains, float)).curve()


def test_a_case_worked_by_hand() -> None:
    # By falling score the gains are 1, 0, 1, 0: the recovered gap is 0, 1/2, 1/2, 1, 1 at shares 0, 1/4, ... 1.
    shares, recovered = curve([0.9, 0.2, 0.8, 0.1], [1, 1, 0, 0])
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert recovered.tolist() == [0, 0.5, 0.5, 1, 1]
    assert apgr(shares, recovered) == pytest.approx(0.25 * (0.25 + 0.5 + 0.75 + 1))
    assert cpt(shares, recovered, 0.2) == pytest.approx(0.1)
    assert cpt(shares, recovered, 0.5) == pytest.approx(0.25)
    assert cpt(shares, recovered, 0.8) == pytest.approx(0.65)


def test_the_strong_model_may_be_worse_at_times() -> None:
    # Gains 1, -1, 1, 1 in order: recovered 1/2, 0, 1/2, 1. Half is recovered at once, 80 % only near the end.
    shares, recovered = curve([4, 3, 2, 1], [1, -1, 1, 1])
    assert recovered.tolist() == [0, 0.5, 0, 0.5, 1]
    assert apgr(shares, recovered) == pytest.approx(0.25 * (0.25 + 0.25 + 0.25 + 0.75))
    assert cpt(shares, recovered, 0.5) == pytest.approx(0.25)
    assert cpt(shares, recovered, 0.8) == pytest.approx(0.9)


def test_equal_scores_go_together_in_any_order() -> None:
    one = curve([1, 1, 0, 0], [1, 0, 1, 0])
    other = curve([1, 1, 0, 0], [0, 1, 0, 1])
    assert one[0].tolist() == other[0].tolist() == [0, 0.5, 1]
    assert one[1].tolist() == other[1].tolist() == [0, 0.5, 1]
    assert apgr(*one) == 0.5


def test_who_does_not_choose_gets_half() -> None:
    shares, recovered = curve([0.3] * 10, [1] * 3 + [0] * 7)
    assert apgr(shares, recovered) == 0.5
    assert [cpt(shares, recovered, part) for part in (0.2, 0.5, 0.8)] == pytest.approx([0.2, 0.5, 0.8])


def test_a_random_order_gets_half_on_average() -> None:
    rng = np.random.default_rng(5)
    gains = (rng.random(300) < 0.3).astype(float)
    areas = [apgr(*Ranking(rng.random(300), gains).curve()) for _ in range(400)]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 400**0.5)


SOME = st.lists(st.tuples(st.integers(0, 20), st.sampled_from([-1.0, 0.0, 0.25, 1.0])), min_size=1, max_size=40).filter(
    lambda rows: sum(gain for _, gain in rows) > 0.2
)


@given(SOME)
def test_the_oracle_is_never_beaten_and_reversing_mirrors(rows: list[tuple[int, float]]) -> None:
    scores = np.array([float(score) for score, _ in rows])
    gains = np.array([gain for _, gain in rows])
    router, oracle = Ranking(scores, gains).curve(), Ranking(gains, gains).curve()
    assert apgr(*oracle) >= apgr(*router) - 1e-9
    for part in (0.2, 0.5, 0.8):
        assert 0 <= cpt(*oracle, part) <= cpt(*router, part) + 1e-9 <= 1 + 1e-9
    assert apgr(*Ranking(-scores, gains).curve()) == pytest.approx(1 - apgr(*router))


@given(SOME)
def test_only_the_order_counts(rows: list[tuple[int, float]]) -> None:
    scores = np.array([float(score) for score, _ in rows])
    gains = np.array([gain for _, gain in rows])
    one, other = Ranking(scores, gains).curve(), Ranking(np.exp(scores / 3) - 7, gains).curve()
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


@given(SOME, st.integers(0, 2**32 - 1))
def test_weights_count_like_copies(rows: list[tuple[int, float]], seed: int) -> None:
    scores = np.array([float(score) for score, _ in rows])
    gains = np.array([gain for _, gain in rows])
    copies = np.random.default_rng(seed).integers(0, 3, size=len(rows))
    if (copies * gains).sum() <= 0.2:
        return
    weighed = Ranking(scores, gains).curve(copies.astype(float))
    copied = Ranking(np.repeat(scores, copies), np.repeat(gains, copies)).curve()
    assert apgr(*weighed) == pytest.approx(apgr(*copied))
    for part in (0.2, 0.5, 0.8):
        assert cpt(*weighed, part) == pytest.approx(cpt(*copied, part))


def test_a_sweep_over_ten_quantiles_gives_nearly_the_same() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(5000)
    weak = (rng.random(5000) > scores).astype(float)
    strong = (rng.random(5000) < 0.9).astype(float)
    mixed = []
    for threshold in np.quantile(scores, np.linspace(0, 1, 11)):
        chosen = scores >= threshold
        mixed.append((chosen.mean(), np.where(chosen, strong, weak).mean()))
    shares, accuracy = np.array(sorted(mixed)).T
    swept = np.trapezoid((accuracy - weak.mean()) / (strong.mean() - weak.mean()), shares)
    assert apgr(*Ranking(scores, strong - weak).curve()) == pytest.approx(swept, abs=0.01)


def test_the_report_sets_a_perfect_router_beside_the_oracle() -> None:
    weak, strong = np.array([0.0, 1, 0, 1, 0, 1, 1, 1]), np.ones(8)
    answers = Answers([str(0.9 - 0.1 * right) for right in weak], weak, strong)
    report = evaluate(answers, Given(), price_ratio=11, resamples=200, seed=3)
    assert report.router.apgr.value == report.oracle.apgr.value == pytest.approx((3 / 8) / 2 + 5 / 8)
    assert report.router.apgr.low <= report.router.apgr.value <= report.router.apgr.high
    assert report.random.apgr.value == 0.5
    # 80 % of the gap takes 3/8 * 0.8 = 0.3 of the calls; a weak call costs 1/11 of a strong one.
    saved = {saving.gap: saving for saving in report.savings}[0.8]
    assert saved.router == pytest.approx(0.7 * 10 / 11)
    assert saved.random == pytest.approx(0.2 * 10 / 11)
    assert saved.quality == pytest.approx(5 / 8 + 0.8 * 3 / 8)
    assert report == evaluate(answers, Given(), price_ratio=11, resamples=200, seed=3)


def test_intervals_hold_the_truth_most_of_the_time() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(60):
        score = rng.random(150)
        # Of infinitely many such prompts the gain at score s is s: APGR is the area under 1 - (1 - x)^2, 2/3.
        gains = (rng.random(150) < score).astype(float)
        answers = Answers([str(value) for value in score], np.zeros(150), gains)
        measured = evaluate(answers, Given(), price_ratio=2, resamples=150, seed=trial).router.apgr
        held += measured.low <= 2 / 3 <= measured.high
    assert held >= 50


def write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_columns_in_any_order_and_scores_of_any_kind(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        [["Strong", "id", " prompt", "WEAK"], ["1", "x", 'two\nlines, "quoted"', "0"], ["True", "y", "", " 0.25 "]],
    )
    answers = read_answers(path)
    assert answers.prompts == ['two\nlines, "quoted"', ""]
    assert answers.strong.tolist() == [1, 1]
    assert answers.weak.tolist() == [0, 0.25]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_answers(path).prompts == answers.prompts


HEADER = ["prompt", "weak", "strong"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], r"no column 'prompt', 'weak', 'strong' .*\(empty\)"),
        ([["prompt", "weak"]], "no column 'strong'"),
        ([[*HEADER, "weak"], ["a", 0, 1, 0]], "more than one column 'weak'"),
        ([HEADER], "no rows"),
        ([HEADER, ["a", 0]], "line 2: 2 columns"),
        ([HEADER, ["a", 0, 1], ["b", 2, 1]], "line 3: weak is '2'"),
        ([HEADER, ["a", 0, "-0.1"]], "strong is '-0.1'"),
        ([HEADER, ["a", "nan", 1]], "weak is 'nan'"),
        ([HEADER, ["a", "right", 1]], "weak is 'right'"),
        ([HEADER, ["a", "", 1]], "weak is ''"),
        ([HEADER, ["a", 1, 1]], "no gap"),
        ([HEADER, ["a", 1, 0], ["b", 1, 1]], "swapped"),
    ],
)
def test_bad_rows_are_told(tmp_path: Path, rows: list[list[object]], why: str) -> None:
    with pytest.raises(BadAnswers, match=why):
        read_answers(write(tmp_path / "bad.csv", rows))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"prompt,weak,strong\na,0,1\n\xff,0,1\n", "line 3: not UTF-8"),
        ("prompt,weak,strong\na,0,1\n".encode("utf-16"), "not UTF-8"),
        (b'prompt,weak,strong\n"a,0,1\n', "not CSV"),
        (b'prompt,weak,strong\n"a"b,0,1\n', "not CSV"),
        (b"prompt,weak,strong\n" + b"a" * (17 << 20) + b",0,1\n", "not CSV.*limit"),
    ],
)
def test_bad_bytes_are_told(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(BadAnswers, match=why):
        read_answers(path)


def test_the_command_prints_json_with_what_counts_on_top(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["What is the sum of the series?" * n, n % 2, 1] for n in range(1, 20)]
    path = write(tmp_path / "a.csv", [HEADER, *rows])
    assert main(["evaluate", str(path), "--json", "--resamples", "20"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"apgr", "cpt20", "cpt50", "cpt80"} <= set(told)
    assert told["prompts"] == 19
    assert told["baselines"]["oracle"]["apgr"]["value"] >= told["apgr"]
    assert told["intervals"]["apgr"][0] <= told["apgr"] <= told["intervals"]["apgr"][1]
    assert main(["evaluate", str(path), "--resamples", "20"]) == 0
    text = capsys.readouterr().out
    assert f"{told['apgr']:.3f}" in text
    assert all(name in text for name in ("router", "random", "length", "oracle", "CPT(80)"))


def test_the_command_ends_with_2_and_one_line_for_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(write(tmp_path / "good.csv", [HEADER, ["a", 0, 1]]))
    (tmp_path / "broken.npz").write_bytes(b"no")
    for arguments in (
        [str(tmp_path / "none.csv")],
        [str(tmp_path)],
        [str(write(tmp_path / "swapped.csv", [HEADER, ["a", 1, 0]]))],
        [good, "--predictor", str(tmp_path / "broken.npz")],
    ):
        assert main(["evaluate", *arguments]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("enginehouse-router: ")
        assert told.err.count("\n") == 1
    for option in (["--price-ratio", "1"], ["--price-ratio", "nan"], ["--resamples", "0"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", good, *option])
        assert ended.value.code == 2


def test_it_runs_with_nothing_configured(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [HEADER, ["short", 1, 1], ["Prove the theorem of the integral", 0, 1]])
    ran = subprocess.run(
        [sys.executable, "-m", "enginehouse.router", "evaluate", str(path), "--json"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["apgr"] == 0.75


def answers_of(
    scores: Sequence[float], weak: Sequence[float], strong: Sequence[float], **others: list[float]
) -> Answers:
    arrays = {name: np.array(values, float) for name, values in others.items()}
    return Answers([str(score) for score in scores], np.array(weak, float), np.array(strong, float), arrays)


def test_at_the_same_cost_the_router_is_compared_with_single_models_and_with_a_mix() -> None:
    # Half of the calls strong, at 1 and 11: cost 6. The router sends the two prompts that gain; a coin gains half.
    given_answers = answers_of([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 0], [1, 1, 1, 0], middle=[1, 0, 1, 0])
    report = evaluate(given_answers, Given(), price_ratio=11, resamples=20, seed=0)
    half = report.equal_cost[2]
    assert (half.share, half.cost, half.router) == (0.5, 6, pytest.approx(0.75))
    assert (half.single, half.single_score) == ("weak", 0.25)
    assert half.mix == ("weak", "strong", pytest.approx(0.5))
    assert half.mix_score == pytest.approx(0.5)
    assert (half.ahead_of_single.value, half.ahead_of_mix.value) == pytest.approx((0.5, 0.25))
    assert half.ahead_of_mix.low <= half.ahead_of_mix.value <= half.ahead_of_mix.high


def test_a_third_model_that_is_cheap_enough_is_the_harder_rival() -> None:
    given_answers = answers_of([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 0], [1, 1, 1, 0], middle=[1, 0, 1, 0])
    report = evaluate(given_answers, Given(), price_ratio=11, resamples=5, seed=0, prices={"middle": 5})
    quarter, half = report.equal_cost[1], report.equal_cost[2]
    # At 3.5 the middle model is too dear alone, but may be mixed; at 6 a mix of it with the strong one is better still.
    assert quarter.single == "weak"
    assert quarter.mix == ("weak", "middle", pytest.approx(2.5 / 4))
    assert (half.single, half.single_score) == ("middle", 0.5)
    assert half.mix == ("middle", "strong", pytest.approx(1 / 6))
    assert half.mix_score == pytest.approx(0.5 + 0.25 / 6)
    assert half.ahead_of_mix.value == pytest.approx(0.75 - half.mix_score)


def test_a_dearer_model_that_is_worse_changes_nothing() -> None:
    given_answers = answers_of([0.9, 0.1], [0, 1], [1, 1], poor=[0, 0])
    alone = evaluate(given_answers, Given(), price_ratio=3, resamples=5, seed=0)
    beside = evaluate(given_answers, Given(), price_ratio=3, resamples=5, seed=0, prices={"poor": 1.5})
    assert alone.equal_cost == beside.equal_cost


def test_the_command_compares_with_more_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.csv"
    file.write_text("prompt,weak,middle,strong\nhello,1,1,1\nProve that 17 is prime.,0,1,1\n")
    command = ["evaluate", str(file), "--resamples", "5", "--price-ratio", "9"]
    assert main([*command, "--single", "middle=3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["equal_cost"]
    assert [row["single"] for row in rows] == ["weak", "middle", "middle", "middle"]
    assert main([*command, "--single", "middle=3"]) == 0
    assert "middle alone 1.0000, router" in capsys.readouterr().out
    assert main([*command, "--single", "huge=30"]) == 2
    assert "no column 'huge'" in capsys.readouterr().err


@pytest.mark.parametrize("given_option", ["weak=3", "=3", "middle", "middle=0", "middle=x"])
def test_what_names_no_other_model_is_refused(given_option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "answers.csv", "--single", given_option])
    assert given_option.rpartition("=")[2] in capsys.readouterr().err

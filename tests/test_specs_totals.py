"""Totals: means, differences with their intervals, and what is said of them. The bootstrap is held against SciPy's."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from playground.specs import Interval, Measure, Score, change, totals, wilson, win_rate
from playground.specs.totals import Vote, bootstrap

NAMES = ("shop-demo", "shop-json")


def a_score(
    passed: bool = True, exact: bool | None = None, fields: float | None = None, f1: float | None = None
) -> Score:
    return Score(passed, () if passed else ("no",), exact, fields, f1)


def passes(marks: str) -> list[Score]:
    """A score for each mark: + passed, - did not."""
    return [a_score(mark == "+") for mark in marks]


def compared(lefts: str, rights: str) -> Measure:
    [measure] = totals(passes(lefts), passes(rights), NAMES)
    return measure


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("+", "+", "same"),
        ("-", "-", "same"),
        ("-", "+", "improved"),
        ("+", "-", "regressed"),
    ],
)
def test_change(left: str, right: str, told: str):
    assert change(passes(left)[0], passes(right)[0]) == told


def test_nothing_comes_of_no_cases():
    assert totals([], [], NAMES) == ()
    assert totals([], None, NAMES[:1]) == ()


def test_one_model_alone():
    scores = [a_score(True, True, 1.0, 0.5), a_score(False, False, None, 0.25), a_score()]
    measures = totals(scores, None, NAMES[:1])
    assert [(m.name, m.left, m.right, m.num_cases, m.difference) for m in measures] == [
        ("pass", pytest.approx(2 / 3), None, 3, None),
        ("exact", 0.5, None, 2, None),
        ("fields", 1.0, None, 1, None),
        ("f1", 0.375, None, 2, None),
    ]
    assert [m.reading for m in measures] == [
        "shop-demo passes 66.7% of 3 cases.",
        "shop-demo meets the expected answer in 50.0% of 2 cases.",
        "shop-demo gets 100.0% of the JSON fields right, over 1 case.",
        "shop-demo has a word F1 of 37.5% with the expected answer, over 2 cases.",
    ]


def test_a_measure_takes_the_cases_that_have_it_on_both_sides():
    lefts = [a_score(True, True, 1.0, 1.0), a_score(True, None, 0.0), a_score(False, False, None, 0.5)]
    rights = [a_score(True, False, 0.5, 0.25), a_score(False, True), a_score(True, True, 1.0, 0.5)]
    found = {m.name: (m.left, m.right, m.num_cases) for m in totals(lefts, rights, NAMES)}
    assert found == {
        "pass": (pytest.approx(2 / 3), pytest.approx(2 / 3), 3),
        "exact": (0.5, 0.5, 2),
        "fields": (1.0, 0.5, 1),
        "f1": (0.75, 0.375, 2),
    }


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        totals(passes("++"), passes("+"), NAMES)


def test_a_clear_difference():
    measure = compared("-" * 127 + "+" * 6, "+" * 133)
    assert measure.difference is not None
    assert measure.difference.value == pytest.approx(127 / 133)
    low, high = (f"{100 * bound:.1f}" for bound in (measure.difference.low, measure.difference.high))
    assert measure.reading == (
        f"shop-json passes 95.5 points more cases than shop-demo (95% interval {low} to {high}): "
        "more than chance would give."
    )


def test_a_difference_the_other_way_is_told_the_other_way():
    there, back = compared("-" * 40 + "+" * 20, "+" * 60), compared("+" * 60, "-" * 40 + "+" * 20)
    assert there.difference is not None
    assert back.difference is not None
    assert back.difference.value == -there.difference.value
    assert there.reading.replace("more cases", "fewer cases")[:46] == back.reading[:46]
    low, high = (f"{-100 * bound:.1f}" for bound in (back.difference.high, back.difference.low))
    assert f"(95% interval {low} to {high}): more than chance would give." in back.reading


@pytest.mark.parametrize(
    ("lefts", "rights", "reading"),
    [
        (
            "-",
            "+",
            "shop-json passes 100.0 points more cases than shop-demo: one case is too few to tell how sure that is.",
        ),
        ("+", "+", "shop-json passes as many cases as shop-demo: one case is too few to tell how sure that is."),
        (
            "------------",
            "++++++++++++",
            "shop-json passes 100.0 points more cases than shop-demo: all cases differ by the same, and from 12 cases "
            "alone the bootstrap cannot tell how others would differ.",
        ),
        (
            "++-",
            "++-",
            "shop-json passes as many cases as shop-demo: no case differs, and from 3 cases alone the bootstrap cannot "
            "tell how others would differ.",
        ),
        (
            "++++------+-",
            "++++-----+++",
            "shop-json passes 16.7 points more cases than shop-demo (95% interval 0.0 to 41.7): the interval includes "
            "zero: with 12 cases a difference this small may be luck.",
        ),
        (
            "-----" + "+" * 15,
            "+" * 20,
            "shop-json passes 25.0 points more cases than shop-demo (95% interval 10.0 to 45.0): but only 5 of 20 "
            "cases differ, too few to rule luck out.",
        ),
    ],
)
def test_readings(lefts: str, rights: str, reading: str):
    assert compared(lefts, rights).reading == reading


def test_six_cases_that_differ_one_way_are_enough():
    assert compared("------" + "+" * 14, "+" * 20).reading.endswith("more than chance would give.")


def test_only_one_case_has_no_interval():
    assert compared("-", "+").difference is None
    assert compared("--", "++").difference == Interval(1.0, 1.0, 1.0)


def test_equal_means_with_an_interval():
    measure = compared("+-" * 10, "-+" * 10)
    assert measure.difference is not None
    assert measure.difference.value == 0
    assert measure.difference.low < 0 < measure.difference.high
    assert measure.reading.startswith("shop-json passes as many cases as shop-demo (95% interval -")


def test_the_other_measures_in_words():
    lefts = [a_score(False, False, 0.0, 0.9) for _ in range(5)] + [a_score(True, True, 1.0, 1.0)]
    rights = [a_score(True, True, 1.0, 0.5) for _ in range(6)]
    started = [measure.reading.split(" (95%")[0] for measure in totals(lefts, rights, NAMES)]
    assert started == [
        "shop-json passes 83.3 points more cases than shop-demo",
        "shop-json meets the expected answer in 83.3 points more cases than shop-demo",
        "shop-json gets 83.3 points more of the JSON fields right than shop-demo",
        "shop-json has a word F1 that is 41.7 points lower than that of shop-demo",
    ]


def data_sets() -> list[list[float]]:
    rng = random.Random(5)
    return [
        [float(rng.choice((-1, 0, 0, 1, 1))) for _ in range(133)],
        [rng.uniform(-0.2, 0.5) for _ in range(40)],
        [rng.gauss(0.1, 1) ** 3 for _ in range(12)],
        [0.0] * 60 + [1.0] * 3,
    ]


@pytest.mark.parametrize("differences", data_sets(), ids=["passes", "shares", "skewed", "rare"])
def test_the_bootstrap_agrees_with_scipy(differences: Sequence[float]):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.bootstrap(
        (np.array(differences),), np.mean, n_resamples=100_000, batch=1000, method="percentile", rng=1
    ).confidence_interval
    ours = bootstrap(differences)
    spread = theirs.high - theirs.low
    assert ours.value == pytest.approx(np.mean(differences))
    # 10,000 resamples leave an error of some 1% of the width; means of passes lie on a grid besides.
    allowed = 0.04 * spread + (1.01 / len(differences) if all(d in (-1, 0, 1) for d in differences) else 0)
    assert abs(ours.low - theirs.low) <= allowed
    assert abs(ours.high - theirs.high) <= allowed


def test_the_bootstrap_by_hand():
    # Of two cases, a quarter of the resamples takes the first twice, and a quarter the second twice.
    assert bootstrap([0.0, 1.0]) == Interval(0.5, 0.0, 1.0)
    # All of three cases are the one that differs in 1 of 27 resamples, which is over 2.5%; none is in 8.
    assert bootstrap([0.0, 0.0, 1.0]) == Interval(round(1 / 3, 12), 0.0, 1.0)
    # All of four are the one that differs in 1 of 256, which is not; three or four are in 13 of 256, which is.
    assert bootstrap([0.0, 0.0, 0.0, 1.0]) == Interval(0.25, 0.0, 0.75)
    assert bootstrap([0.1] * 7) == Interval(0.1, 0.1, 0.1)


def test_the_same_scores_give_the_same_figures():
    lefts = [a_score(f1=share / 50) for share in range(50)]
    rights = [a_score(f1=(share * 7 % 50) / 50) for share in range(50)]
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    assert totals(lefts, rights, NAMES) == totals(lefts, rights, NAMES)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_many_cases_take_little_memory():
    tracemalloc.start()
    try:
        bootstrap([0.0, 1.0] * 2500)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40_000_000


@pytest.mark.parametrize(
    ("num_good", "num_all", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (50, 100, 0.4038, 0.5962),
        (128, 133, 0.9150, 0.9838),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(num_good: int, num_all: int, low: float, high: float):
    interval = wilson(num_good, num_all)
    assert interval.value == (num_good / num_all if num_all else 0)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(("num_good", "num_all"), [(1, 3), (8, 10), (0, 7), (128, 133)])
def test_wilson_agrees_with_scipy(num_good: int, num_all: int):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(num_good, num_all).proportion_ci(method="wilson")
    ours = wilson(num_good, num_all)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


@pytest.mark.parametrize(("num_good", "num_all"), [(-1, 2), (3, 2), (1, 0)])
def test_wilson_refuses_what_is_no_share(num_good: int, num_all: int):
    with pytest.raises(ValueError, match=f"num_good: {num_good} is not from 0 to {num_all}"):
        wilson(num_good, num_all)


@pytest.mark.parametrize(
    ("votes", "like"),
    [
        ([], None),
        (["both_bad", "both_bad"], None),
        (["right"] * 8 + ["left"] * 2, wilson(8, 10)),
        (["right"] * 7 + ["tie"] * 2 + ["left"] + ["both_bad"] * 5, wilson(8, 10)),
        (["tie", "tie"], wilson(1, 2)),
        (["left"], wilson(0, 1)),
    ],
)
def test_win_rate(votes: list[Vote], like: Interval | None):
    assert win_rate(votes) == like


def test_a_win_and_a_tie_are_a_win_and_a_half():
    rate = win_rate(["right", "tie", "both_bad"])
    assert rate is not None
    assert rate.value == 0.75
    # Wilson's bounds are where the share lies just 1.96 standard errors of the bound away.
    for bound in (rate.low, rate.high):
        assert abs(0.75 - bound) == pytest.approx(1.959964 * (bound * (1 - bound) / 2) ** 0.5, rel=1e-6)

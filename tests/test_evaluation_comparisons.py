"""Groups, comparisons, and the number of examples that they need, against known values and by simulation."""

import math
from typing import Any

import numpy as np
import pytest

from smol_course.evaluation.comparisons import bootstrap, by_group, compare, mcnemar, needed
from smol_course.metrics import wilson


def test_groups_have_wilson_intervals_and_keep_their_rows() -> None:
    groups = by_group([True, False, True, True], ["a", "b", "a", "b"])
    assert groups == {"a": (1.0, *wilson(2, 2), 2), "b": (0.5, *wilson(1, 2), 2)}
    assert list(by_group([1, 1, 0], ["b", "a", "a"])) == ["a", "b"], "the largest first"
    with pytest.raises(ValueError):
        by_group([True], ["a", "b"])


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (0, 6, 0.03125), (10, 2, 0.03857), (25, 10, 0.01668)],
)
def test_mcnemar_is_the_binomial_test(gained: int, lost: int, p: float) -> None:
    from scipy.stats import binomtest

    assert mcnemar(gained, lost) == mcnemar(lost, gained) == pytest.approx(p, abs=1e-5)
    if gained + lost:
        assert mcnemar(gained, lost) == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_mcnemar_of_no_counts() -> None:
    with pytest.raises(ValueError, match="counts examples"):
        mcnemar(-1, 3)


def test_bootstrap_of_a_share_is_near_wilson() -> None:
    values = [1] * 120 + [0] * 80
    assert bootstrap(values) == pytest.approx(wilson(120, 200), abs=0.015)
    assert bootstrap(values * 10) == pytest.approx(wilson(1200, 2000), abs=0.002), "95 %, and neither 90 nor 99"
    assert bootstrap(values) == bootstrap(values, seed=0), "a seed repeats it"
    assert bootstrap([3.0] * 5) == (3.0, 3.0)
    with pytest.raises(ValueError):
        bootstrap([])


def test_a_comparison_goes_example_by_example() -> None:
    """Two models that differ on few examples: paired, the difference is clear; the two intervals overlap widely."""
    before = [True] * 100 + [False] * 100
    after = [True] * 100 + [True] * 10 + [False] * 90
    comparison = compare(before, after)
    assert (comparison.n, comparison.gained, comparison.lost) == (200, 10, 0)
    assert comparison.difference == pytest.approx(0.05)
    assert 0 < comparison.low < comparison.difference < comparison.high < 0.1
    assert wilson(110, 200)[0] < 0.5 < wilson(110, 200)[1]
    back = compare(after, before)
    assert (back.difference, back.gained, back.lost, back.p) == (-comparison.difference, 0, 10, comparison.p)
    assert "gained 10, lost 0" in str(comparison)


def test_a_comparison_of_numbers_has_no_p() -> None:
    comparison = compare([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])
    assert (comparison.difference, comparison.low, comparison.high) == (0.5, 0.5, 0.5)
    assert (comparison.gained, comparison.lost, comparison.p) == (None, None, None)
    with pytest.raises(ValueError):
        compare([1.0], [1.0, 2.0])


def _shown(n: int, before: float, after: float, changed: float | None, tries: int = 400) -> float:
    """How often a test with n examples finds this difference (p below 0.05), by trying."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(tries):
        if changed is None:
            old, new = rng.binomial(n, before) / n, rng.binomial(n, after) / n
            spread = math.sqrt((before * (1 - before) + after * (1 - after)) / n)
            hits += abs(new - old) > 1.96 * spread
        else:
            gained = (changed + after - before) / 2
            counts = rng.multinomial(n, [gained, changed - gained, 1 - changed])
            hits += mcnemar(int(counts[0]), int(counts[1])) < 0.05
    return hits / tries


@pytest.mark.parametrize(
    ("before", "after", "changed"), [(0.6, 0.7, None), (0.6, 0.7, 0.2), (0.6, 0.65, 0.15), (0.9, 0.8, 0.3)]
)
def test_needed_examples_are_enough_and_half_of_them_are_not(before: float, after: float, changed: Any) -> None:
    n = needed(before, after, changed)
    assert _shown(n, before, after, changed) == pytest.approx(0.8, abs=0.08)
    assert _shown(n // 2, before, after, changed) < 0.68


def test_pairs_need_fewer_examples() -> None:
    assert needed(0.6, 0.65, 0.1) < needed(0.6, 0.65) / 3
    for before, after, changed in ((0.5, 0.5, None), (0.5, 0.7, 0.1), (0.5, 1.2, None)):
        with pytest.raises(ValueError):
            needed(before, after, changed)

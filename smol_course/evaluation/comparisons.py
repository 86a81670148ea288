"""Is one better than the other, and on how many examples would it show? By group, example by example, by chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smol_course.metrics import wilson


def by_group(right: Sequence[bool], groups: Sequence[str]) -> dict[str, tuple[float, float, float, int]]:
    """Return for each group (share right, low, high, n), the largest group first; low and high are Wilson's.

    Raises ValueError if the lists differ in length.
    """
    members: dict[str, list[bool]] = {}
    for is_right, group in zip(right, groups, strict=True):
        members.setdefault(group, []).append(bool(is_right))
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return {group: (sum(v) / len(v), *wilson(sum(v), len(v)), len(v)) for group, v in ordered}


@dataclass(frozen=True)
class Comparison:
    """What `compare` found about two lists of scores for the same examples.

    ``difference`` is the mean of after - before, ``low`` and ``high`` its 95 % bootstrap interval. For scores that are
    right or wrong, ``gained`` and ``lost`` count the examples that changed, and ``p`` is McNemar's exact test; else
    they are None.
    """

    n: int
    difference: float
    low: float
    high: float
    gained: int | None
    lost: int | None
    p: float | None

    def __str__(self) -> str:
        text = f"difference {self.difference:+.3f} ({self.low:+.3f} to {self.high:+.3f}, n = {self.n})"
        return text if self.p is None else f"{text}, gained {self.gained}, lost {self.lost}, p = {self.p:.3g}"

    __repr__ = __str__  # what a notebook shows at the end of a cell


def compare(before: Sequence[float], after: Sequence[float], seed: int = 0, draws: int = 2000) -> Comparison:
    """Compare two lists of scores of the same examples in the same order, example by example.

    Raises ValueError if the lists are empty or differ in length.
    """
    pairs = [(float(old), float(new)) for old, new in zip(before, after, strict=True)]
    changes = [new - old for old, new in pairs]
    low, high = bootstrap(changes, seed, draws)
    gained = lost = p = None
    if all(score in (0, 1) for pair in pairs for score in pair):
        gained, lost = changes.count(1), changes.count(-1)
        p = mcnemar(gained, lost)
    return Comparison(len(pairs), sum(changes) / len(changes), low, high, gained, lost, p)


def bootstrap(values: Sequence[float], seed: int = 0, draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval (low, high) of a mean.

    Raises ValueError for no values.
    """
    import numpy

    scores = numpy.asarray(values, dtype=float)  # (n,)
    if not len(scores):
        raise ValueError("bootstrap needs at least one value")
    chosen = numpy.random.default_rng(seed).integers(0, len(scores), (draws, len(scores)))
    low, high = numpy.quantile(scores[chosen].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p of McNemar's exact test: how often fair coins fall at least as unevenly as this.

    ``gained`` and ``lost`` count the examples that only the one or only the other model got right. Raises ValueError
    for negative counts.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"mcnemar counts examples, got {gained} and {lost}")
    n, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def needed(before: float, after: float, changed: float | None = None, power: float = 0.8) -> int:
    """Return how many examples show a difference between two shares, at 5 % error and with this power.

    Without ``changed``: examples for each of two models that were asked different questions. With it: examples that
    both models were asked, where ``changed`` is the share on which they differ (gained and lost together; at least the
    difference). Normal approximations; for the second see Connor (1987). Raises ValueError for equal shares, for what
    is no share, and for a ``changed`` that is too small.
    """
    from statistics import NormalDist

    gap = abs(after - before)
    if not gap or not all(0 <= share <= 1 for share in (before, after)) or not 0 < power < 1:
        raise ValueError(f"needed wants two different shares and a power, got {before}, {after} and {power}")
    z, z_power = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(power)
    if changed is None:
        spread = before * (1 - before) + after * (1 - after)
        return math.ceil((z + z_power) ** 2 * spread / gap**2)
    if not gap <= changed <= 1:
        raise ValueError(f"of the examples at least {gap:.3g} change, not {changed}")
    return math.ceil((z * math.sqrt(changed) + z_power * math.sqrt(changed - gap**2)) ** 2 / gap**2)

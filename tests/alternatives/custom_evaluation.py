"""Other right answers, and wrong ones that once passed."""

import json

import numpy as np


def gained_and_lost(before, after):
    before, after = np.array(before), np.array(after)
    return [(after & ~before).sum(), (before & ~after).sum()]


def paired_interval(before, after, draws, rng):
    means = []
    for _ in range(draws):
        picked = [int(rng.random() * len(before)) for _ in before]
        means.append((sum(after[i] for i in picked) - sum(before[i] for i in picked)) / len(picked))
    means.sort()
    cut = round(0.025 * draws)
    return np.array([means[cut], means[draws - 1 - cut]])


ALTERNATIVES = {"custom_evaluation/turtle": lambda: gained_and_lost, "custom_evaluation/dog": lambda: paired_interval}
MUTANTS = {
    "custom_evaluation/dog": (
        ("rng.integers(0, n, (draws, n))", "rng.integers(1, n, (draws, n))"),
        ("rng.integers(0, n, (draws, n))", "rng.integers(-1, n, (draws, n))"),
        ("rng.integers(0, n, (draws, n))", "rng.integers(0, n - 1, (draws, n))"),
        ("[0.025, 0.975]", "[0.04, 0.96]"),
        ("[0.025, 0.975]", "[0.025, 0.96525]"),
        ("[0.025, 0.975]", "[0.03475, 0.975]"),
        ("[0.025, 0.975]", "[0.0125, 0.975]"),
        ("[0.025, 0.975]", "[0.025, 0.9875]"),
    ),
}
NULLS = ["null"] * 10
EVENT, OTHER = (
    json.dumps({"title": "a", "day": d, "start": None, "place": None, "people": []}) for d in ("monday", None)
)
LIMITS = {
    "custom_evaluation/lion": ({"labels": [EVENT] * 50 + NULLS, "second_labels": [EVENT] * 44 + [OTHER] * 6 + NULLS},)
}

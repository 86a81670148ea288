"""Other right answers, and wrong ones that once passed or were named wrongly."""

from collections import defaultdict
from fractions import Fraction

import numpy as np


def measures(rankings, wanted, k):
    places = np.array(
        [
            (*found, page).index(page) + 1 if page in found else np.inf
            for found, page in zip(rankings, wanted, strict=True)
        ]
    )
    return {"mrr": np.mean(1 / places), "recall": np.mean(places <= k)}


def fused(rankings, k):
    points, met = defaultdict(Fraction), []
    for ranking in rankings:
        for below, name in enumerate(ranking):
            points[name] += 1 / (Fraction(k) + below + 1)
            met += [name] * (name not in met)
    return sorted(met, key=points.__getitem__, reverse=True)


ALTERNATIVES = {"retrieval_agents/turtle": lambda: measures, "retrieval_agents/dog": lambda: fused}
MUTANTS = {"retrieval_agents/dog": (("enumerate(ranking, 1)", "enumerate(ranking, 2)"),)}
REFUSED = {
    "retrieval_agents/dog": (
        ("one missing", lambda: lambda rankings, k: fused(rankings, k)[:-1], "the result has no 'c'"),
    ),
}

"""Other right answers, and wrong ones that once passed or were named wrongly."""

from collections import defaultdict
from fractions import Fraction

import numpy as np


def measures(rankings, wanted, k):
    places = np.array(
        [
            (*ranking, page).index(page) + 1 if page in ranking else np.inf
            for ranking, page in zip(rankings, wanted, strict=True)
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


def sixty(rankings, k):
    return fused(rankings, 60)


def within_k_and_one(rankings, wanted, k):
    return measures(rankings, wanted, k) | {
        "mrr": measures([ranking[: k + 1] for ranking in rankings], wanted, k)["mrr"]
    }


ALTERNATIVES = {"retrieval_agents/turtle": lambda: measures, "retrieval_agents/dog": lambda: fused}
MUTANTS = {"retrieval_agents/dog": (("enumerate(ranking, 1)", "enumerate(ranking, 2)"),)}
REFUSED = {
    "retrieval_agents/turtle": (("one behind k", lambda: within_k_and_one, "k = 1 it should be 0.3750"),),
    "retrieval_agents/dog": (
        ("always 60", lambda: sixty, "it should be ['c', 'a', 'e', 'd', 'b', 'f'], but yours is"),
        ("one missing", lambda: lambda rankings, k: fused(rankings, k)[:-1], "the result has no 'c'"),
    ),
}

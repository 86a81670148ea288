"""Reference answers to the exercises of the notebook custom_evaluation.

`hint(...)` in the notebook gives less away.
"""

import json

import numpy as np

# 🐢 Gained and lost


def gained_and_lost(before, after):
    """Return how many messages only the second model got right, and how many only the first."""
    pairs = list(zip(before, after, strict=True))
    return pairs.count((False, True)), pairs.count((True, False))


# 🐕 A paired interval


def paired_interval(before, after, draws, rng):
    """Return the 95 % bootstrap interval (low, high) of the mean of after - before."""
    # One number for each message: drawing it takes both models' results along.
    changes = np.array(after, dtype=float) - np.array(before, dtype=float)
    n = len(changes)
    means = changes[rng.integers(0, n, (draws, n))].mean(axis=1)  # (draws,)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


# 🦁 A register of your own


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: messages, labels and results are made up."""
    event = {"title": "bin day", "day": "tuesday", "start": None, "place": None, "people": []}
    labels = [json.dumps(event)] * 50 + ["null"] * 10
    return {
        "register": "notes on a fridge",
        "messages": [f"made-up note {number}" for number in range(60)],
        "labels": labels,
        "second_labels": list(labels),
        "first_model_right": [True] * 20 + [False] * 40,
        "second_model_right": [True] * 22 + [False] * 38,
        "verdict": "cannot tell",
    }


ANSWERS = {
    "custom_evaluation/turtle": lambda: gained_and_lost,
    "custom_evaluation/dog": lambda: paired_interval,
    "custom_evaluation/lion": example_results,
}

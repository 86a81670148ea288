"""Other right answers, and wrong ones that once passed or were named wrongly."""

import math

import numpy as np


def percentile(seconds, share):
    return np.percentile(seconds, 100 * share, method="inverted_cdf")


def steps(lengths, slots):
    rounds = [lengths[start:][:slots] for start in range(0, len(lengths), slots)]
    waiting, running, count = list(lengths), [], 0
    while waiting or running:  # step by step, as a server does
        while waiting and len(running) < slots:
            running.append(waiting.pop(0))
        running = [left - 1 for left in running if left > 1]
        count += 1
    return [sum(map(max, rounds)), count]


def rounded(seconds, share):
    return sorted(seconds)[max(0, round(share * len(seconds)) - 1)]


def floored(seconds, share):
    return sorted(seconds)[math.floor(share * len(seconds)) - 1]


def bound(lengths, slots):
    return steps(lengths, slots)[0], max([math.ceil(sum(lengths) / slots), *lengths])


ALTERNATIVES = {"serving/turtle": lambda: percentile, "serving/dog": lambda: steps}
MUTANTS = {"serving/turtle": (("math.ceil(share", "math.floor(share"), ("math.ceil(share", "round(share"))}
REFUSED = {
    "serving/dog": (
        ("the lower bound", lambda: bound, "Continuous: for [1, 2, 3, 4, 5, 6] and 3 slots it should be 9"),
    ),
    "serving/turtle": (
        ("round", lambda: rounded, "and up to 1 where that gave 0: always round up"),
        ("floor", lambda: floored, "Rounded down"),
    ),
}

"""Reference answers to the exercises of the notebook orpo.

`hint(...)` in the notebook gives less away.
"""

import math

# 🐢 The odds-ratio term


def odds_ratio_term(p_chosen, p_rejected):
    """Return -log sigmoid(log(odds of chosen / odds of rejected))."""
    ratio = (p_chosen / (1 - p_chosen)) / (p_rejected / (1 - p_rejected))
    # sigmoid(log r) = 1 / (1 + 1/r), so minus its logarithm is log(1 + 1/r).
    return math.log1p(1 / ratio)


# 🐕 A log odds ratio that holds


def log1mexp(x):
    """Return log(1 - exp(x)) for x < 0 without losing digits."""
    # Above -log 2, exp(x) is near 1: expm1 keeps the small difference. Below, exp(x) is small: log1p keeps it.
    return math.log(-math.expm1(x)) if x > -math.log(2) else math.log1p(-math.exp(x))


def log_odds_ratio(log_chosen, log_rejected):
    """Return log(odds of chosen / odds of rejected) from the logarithms of the two probabilities."""
    return (log_chosen - log1mexp(log_chosen)) - (log_rejected - log1mexp(log_rejected))


ANSWERS = {
    "orpo/turtle": lambda: odds_ratio_term,
    "orpo/dog": lambda: log_odds_ratio,
}

"""Reference answers to the exercises of the notebook inference_pipeline.

`hint(...)` in the notebook gives less away.
"""

import math

# 🐢 Probabilities at a temperature


def probabilities_at(scores, temperature):
    """Return the probability of each token at this temperature."""
    # With the largest taken away, no exponent is above 0, and the quotients are the same.
    highest = max(scores)
    weights = [math.exp((score - highest) / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


# 🐕 Top-p by hand


def keep_top_p(probabilities, top_p):
    """Return the probabilities with the tail beyond top_p cut off."""
    kept, together = [0.0] * len(probabilities), 0.0
    # sorted() keeps the order of equal ones, so the earlier token comes first.
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        kept[token] = probabilities[token]
        together += probabilities[token]
        if together >= top_p:
            break
    return [probability / sum(kept) for probability in kept]


ANSWERS = {
    "inference_pipeline/turtle": lambda: probabilities_at,
    "inference_pipeline/dog": lambda: keep_top_p,
}

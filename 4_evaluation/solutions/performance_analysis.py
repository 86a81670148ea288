"""Reference answers to the exercises of the notebook performance_analysis.

`hint(...)` in the notebook gives less away.
"""

import math

from smol_course.evaluation.comparisons import mcnemar

# 🐢 Perplexity


def perplexity(losses, tokens):
    """Return the perplexity over all tokens of all pages."""
    # A page's loss is a mean per token: times its tokens, it is the page's sum.
    total = sum(loss * count for loss, count in zip(losses, tokens, strict=True))
    return math.exp(total / sum(tokens))


# 🐕 A gate


def gate_of_mine(before, after):
    """Return "fail" if the model got worse by more than chance explains, else "pass", or "cannot tell"."""
    shared = [name for name in before if name in after]
    if len(shared) < 30:
        return "cannot tell"
    gained = sum(after[name] and not before[name] for name in shared)
    lost = sum(before[name] and not after[name] for name in shared)
    return "fail" if lost > gained and mcnemar(gained, lost) < 0.05 else "pass"


ANSWERS = {
    "performance_analysis/turtle": lambda: perplexity,
    "performance_analysis/dog": lambda: gate_of_mine,
}

"""Other right answers, and wrong ones that once passed."""

import numpy as np


def perplexity(losses, tokens):
    return np.exp(np.average(losses, weights=tokens))


def gate_of_mine(before, after):
    answers = np.array([[before[name], after[name]] for name in sorted(set(before).intersection(after))])
    if len(answers) < 30:
        return "cannot tell"
    change = answers[:, 1].astype(int) - answers[:, 0].astype(int)
    gained, lost = int((change == 1).sum()), int((change == -1).sum())
    if gained >= lost:
        return "pass"
    tosses = np.poly1d([1])
    for _ in range(gained + lost):
        tosses *= np.poly1d([0.5, 0.5])  # the coefficient of x to the k is the chance of k heads
    return "fail" if 2 * tosses.coefficients[: gained + 1].sum() < 0.05 else "pass"


def five_points(before, after):
    shared = before.keys() & after
    if len(shared) < 30:
        return "cannot tell"
    return "fail" if sum(before[name] - after[name] for name in shared) > 0.05 * len(shared) else "pass"


ALTERNATIVES = {"performance_analysis/turtle": lambda: perplexity, "performance_analysis/dog": lambda: gate_of_mine}
_SHARED, _GAINED, _LOST = (
    "for name in before if name in after]",
    "sum(after[name] and not before[name] for name in shared)",
    "sum(before[name] and not after[name] for name in shared)",
)
MUTANTS = {
    "performance_analysis/turtle": (
        ("total / sum(tokens)", "round(total) / sum(tokens)"),
        ("in zip(losses, tokens, strict=True)", "in set(zip(losses, tokens, strict=True))"),
    ),
    "performance_analysis/dog": (
        ("len(shared) < 30", "len(shared) <= 30"),
        ("len(shared) < 30", "len(shared) < 29"),
        ("len(shared) < 30", "len(after) < 30"),
        (_GAINED, "sum(after[name] and not before[name] for name in after)"),
        (_GAINED, "sum(after[name] and not before.get(name, False) for name in after)"),
        (_LOST, "sum(before[name] and not after.get(name, False) for name in before)"),
        ("< 0.05", "< 0.0505"),
        ("< 0.05", "< 0.0495"),
        (_SHARED, "for name in list(before)[1:] if name in after]"),
        (_SHARED, "for name in list(before)[:-1] if name in after]"),
        *((old, old.replace("in shared", f"in shared[{part}]")) for old in (_GAINED, _LOST) for part in ("1:", ":-1")),
    ),
}
REFUSED = {
    "performance_analysis/dog": (
        ("a drop in points", lambda: five_points, "3 gained and 11 lost: the exact test's p, two-sided, is 0.057"),
        (
            "never",
            lambda: lambda before, after: "pass" if len(before.keys() & after) > 29 else "cannot tell",
            "never fails",
        ),
    ),
}

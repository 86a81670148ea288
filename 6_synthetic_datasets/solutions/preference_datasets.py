"""Reference answers to the exercises of the notebook preference_datasets.

`hint(...)` in the notebook gives less away.
"""

from itertools import combinations

# 🐢 Ties out


def preferences(pairs, least):
    """Return (chosen, rejected) of the pairs that are not ties."""
    kept = []
    for text, grade, other, other_grade in pairs:
        if abs(grade - other_grade) >= least:
            kept.append((text, other) if grade > other_grade else (other, text))
    return kept


# 🐕 A judge asked both ways


def asked_both_ways(judge, texts, sure):
    """Return the preferences that hold in both orders."""
    kept = []
    for one, other in combinations(texts, 2):
        first = judge(one, other)  # the chance of `one`, read first
        second = 1 - judge(other, one)  # and read second: the judge speaks about the other text
        mean = (first + second) / 2
        if mean >= sure and min(first, second) > 0.5:
            kept.append((one, other))
        elif 1 - mean >= sure and max(first, second) < 0.5:
            kept.append((other, one))
    return kept


ANSWERS = {
    "preference_datasets/turtle": lambda: preferences,
    "preference_datasets/dog": lambda: asked_both_ways,
}

"""Other right answers, and wrong ones that once passed."""

import re
from collections import Counter


def distinct_share(messages, n):
    counts = Counter()
    for message in messages:
        words = message.casefold().split()
        counts.update(zip(*(words[start:] for start in range(n)), strict=False))
    return len(counts) / max(1, counts.total())


def contaminated_places(training, tests, threshold):
    def form(text):
        return " ".join(re.findall("[a-z0-9]+", text.casefold()))

    def share(text, test):
        size = min(5, len(test))
        pieces = {test[start : start + size] for start in range(len(test) - size + 1)}
        return sum(piece in text for piece in pieces) / len(pieces)

    return [
        place
        for place in range(len(training))
        if max((share(form(training[place]), form(test)) for test in tests), default=0) > threshold
    ]


ALTERNATIVES = {"quality/turtle": lambda: distinct_share, "quality/dog": lambda: contaminated_places}
_PLAIN = 're.sub(r"[^a-z0-9]+", " ", text.lower()).strip()'
MUTANTS = {
    "quality/dog": (
        (_PLAIN, _PLAIN.removesuffix(".strip()")),
        (_PLAIN, _PLAIN.replace("strip", "rstrip")),
        (_PLAIN, _PLAIN.replace('" "', '""')),
        (_PLAIN, _PLAIN.replace('" "', '" X"')),
        ("range(len(text) - 4)", "range(len(text) - 3)"),
        ("len(test) < 5", "len(test) < 4"),
    ),
}

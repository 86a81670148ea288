"""Reference answers to the exercises of the notebook quality.

`hint(...)` in the notebook gives less away.
"""

import re

# 🐢 Distinct-n


def distinct_share(messages, n):
    """Return distinct-n of the messages."""
    sequences = []
    for message in messages:
        words = message.casefold().split()
        sequences += [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return len(set(sequences)) / len(sequences) if sequences else 0.0


# 🐕 A contamination test


def plain(text):
    """Return the text in the form in which texts are compared."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def pieces(text):
    """Return the 5-grams of a text."""
    return {text[start : start + 5] for start in range(len(text) - 4)}


def containment(training, test):
    """Return which share of the test message stands in the training message; both in one form."""
    if len(test) < 5:
        return float(test in training)
    return len(pieces(training) & pieces(test)) / len(pieces(test))


def contaminated_places(training, tests, threshold):
    """Return the places of the training messages that contain a test message."""
    forms = [plain(test) for test in tests]
    return [
        place
        for place, text in enumerate(map(plain, training))
        if any(containment(text, test) > threshold for test in forms)
    ]


ANSWERS = {
    "quality/turtle": lambda: distinct_share,
    "quality/dog": lambda: contaminated_places,
}

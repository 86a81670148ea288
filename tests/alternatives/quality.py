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


def joined_words(messages, n):
    texts = [message.casefold().split() for message in messages]
    runs = ["".join(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0


def without_order(messages, n):
    texts = [message.casefold().split() for message in messages]
    runs = [frozenset(words[start : start + n]) for words in texts for start in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0


def each_message_once(messages, n):
    texts = [message.casefold().split() for message in messages]
    runs = [run for words in texts for run in set(zip(*(words[start:] for start in range(n)), strict=False))]
    return len(set(runs)) / len(runs) if runs else 0.0


def letters_only(training, tests, threshold):
    def bare(texts):
        return ["".join(character if not character.isdigit() else " " for character in text) for text in texts]

    return contaminated_places(bare(training), bare(tests), threshold)


ALTERNATIVES = {"quality/turtle": lambda: distinct_share, "quality/dog": lambda: contaminated_places}
_PLAIN = 're.sub(r"[^a-z0-9]+", " ", text.lower()).strip()'
MUTANTS = {
    "quality/dog": (
        (_PLAIN, _PLAIN.removesuffix(".strip()")),
        (_PLAIN, _PLAIN.replace("strip", "rstrip")),
        (_PLAIN, _PLAIN.replace('" "', '""')),
        (_PLAIN, _PLAIN.replace('" "', '" X"')),
        ("range(len(text) - 4)", "range(len(text) - 3)"),
        ("text[start : start + 5]", "text[start - 1 : start + 5]"),
        ("len(test) < 5", "len(test) < 4"),
    ),
}
REFUSED = {
    "quality/turtle": (
        ("joined words", lambda: joined_words, "['ab c', 'a bc', 'c ab'] with n = 2 gives"),
        ("without order", lambda: without_order, "with n = 2 gives"),
        ("each message once", lambda: each_message_once, "with n = "),
    ),
    "quality/dog": (("no numbers", lambda: letters_only, "'room 123456' is wrongly suspected"),),
}

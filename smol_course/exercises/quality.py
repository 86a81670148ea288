"""The exercises of the notebook quality: variety in a number, and a test for contamination."""

import math
import re
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, compared, expect, planted

# --- 🐢 Distinct-n ------------------------------------------------------------------------------------------

_LISTS: tuple[tuple[list[str], int], ...] = (
    (["dentist tue 9am", "Dentist tue 10am", "choir thu 8pm"], 2),
    (["yoga sun 10am", "yoga sun 10am", "yoga mon 10am"], 1),
    (["gym fri", "pool fri 6pm"], 3),
    (["gym", "pool"], 2),
    (["", "yoga  sun", "Yoga\tsun"], 1),
    ([], 1),
    (["ab c", "a bc", "c ab"], 2),
    (["bye bye bye bye", "Bye now"], 2),
)


def _runs(messages: list[str], n: int, fold: bool = True, joined: bool = False) -> list[tuple[str, ...]]:
    texts = [" ".join(messages)] if joined else messages
    words = [(text.casefold() if fold else text).split() for text in texts]
    return [tuple(message[start : start + n]) for message in words for start in range(len(message) - n + 1)]


def _share(runs: list[Any], of: int | None = None) -> float:
    count = len(runs) if of is None else of
    return len(set(runs)) / count if count else 0.0


_DISTINCT_MISTAKES: dict[str, Callable[..., Any]] = {
    "A sequence must not run from one message into the next.": lambda m, n: _share(_runs(m, n, joined=True)),
    "Case does not count: fold it first.": lambda m, n: _share(_runs(m, n, fold=False)),
    "It is divided by the number of messages: divide by the number of all sequences.": lambda m, n: _share(
        _runs(m, n), len(m)
    ),
    "These are sequences of characters: words are asked for.": lambda m, n: _share(
        [text.casefold()[i : i + n] for text in m for i in range(len(text) - n + 1)]
    ),
    "This is the number of different sequences: divide it by that of all.": lambda m, n: float(len(set(_runs(m, n)))),
    "This is how many come again, 1 minus what is asked for.": lambda m, n: (
        1 - _share(_runs(m, n)) if _runs(m, n) else 0.0
    ),
    "An empty text is counted as a word: words are what split() gives, without an argument.": lambda m, n: _share(
        [tuple(w[i : i + n]) for w in (text.casefold().split(" ") for text in m) for i in range(len(w) - n + 1)]
    ),
    "n is always taken as 1.": lambda m, n: _share(_runs(m, 1)),
    "n is always taken as 2.": lambda m, n: _share(_runs(m, 2)),
}


def _judge_distinct(answer: Any) -> str | None:
    values = []
    for messages, n in _LISTS:
        value = float(expect(call(answer, list(messages), n), (float, int), "what distinct_share returns"))
        if not math.isfinite(value):
            return "It is no finite number: what if there are no sequences at all?"
        values.append(round(value, 9))
    wanted = [round(_share(_runs(*case)), 9) for case in _LISTS]
    rounded = {m: lambda a, b, way=way: round(way(a, b), 9) for m, way in _DISTINCT_MISTAKES.items()}

    def say(place: int) -> str:
        messages, n = _LISTS[place]
        return f"{messages} with n = {n} gives {wanted[place]:.4f}, but yours is {values[place]:.4f}."

    return compared(values, wanted, _LISTS, rounded, say)


def _no_sequences(messages: list[str], n: int) -> float:
    runs = _runs(messages, n)
    return len(set(runs)) / len(runs)


_TURTLE = Exercise(
    id="quality/turtle",
    level="🐢",
    title="Distinct-n",
    goal="Measure how varied messages are: distinct-n.",
    minutes=5,
    judge=_judge_distinct,
    hints=(
        "Two numbers are asked for: how many sequences there are in all messages, and how many different ones.",
        "Take the messages one by one, so that no sequence runs on into the next. Collect the sequences of all in "
        "one list; a set of the list holds each once. What if the list is empty?",
        "A message of 5 words has 4 sequences of 2, and 3 of 3. At which words do they begin?",
        "`tuple(words[i:i + n])` for i from 0 to `len(words) - n`. A set takes tuples, but no lists.",
    ),
    wrong=(
        *planted(_DISTINCT_MISTAKES),
        ("no sequences", lambda: _no_sequences, "ZeroDivisionError"),
        ("not a number", lambda: lambda m, n: _share(_runs(m, n)) if _runs(m, n) else math.nan, "no finite number"),
    ),
)

# --- 🐕 A contamination test --------------------------------------------------------------------------------

_TESTS = ["Dinner with Olga at the Quay, Fri 7.30pm", "Yoga, Tues 6pm", "Sax"]
_LONG = "Hi! So that you know what the week has: dinner with olga at the quay (fri, 7:30pm). See you there, all of you."
_TRAINING = [
    "Dinner with Olga at the Quay, Fri 7.30pm",  # a copy
    "Dentist Mon 9am",  # harmless
    _LONG,  # a copy inside a long message
    "YOGA -- tues -- 6pm!",  # the same but for case and marks
    "dinner with Hal at the Crown, Sun 6pm",  # partly
    "sax lesson wed 5pm",  # a short test message as a whole
    "Dinner with Olga",  # a piece of one
]
_CASES: tuple[tuple[list[str], list[str], float], ...] = (
    (_TRAINING, _TESTS, 0.5),
    (_TRAINING, _TESTS[:2], 0.25),
    *((["abcdefgh", "abcdxxxx"], ["abcdefxyz"], threshold) for threshold in (0.4, 0.45, 0.3)),
    ([], _TESTS, 0.5),
    (_TRAINING, [], 0.5),
    (["xabcdefx", "abcd"], ["(abcdef)"], 0.75),  # marks at both ends
    *((["ab cdz", "ab_cdz", "abcdz"], ["Ab, cde"], threshold) for threshold in (0.6, 0.4)),  # a space is a character
    *((["abcdezz", "zzbcdef"], ["abcdef"], threshold) for threshold in (0.4, 0.6)),
    (["A gala, Sat!", "galaxy", "gal", "Gala"], ["Gala"], 0.5),  # 4 characters
    (["room 123456", "room 65432"], ["room 654321"], 0.5),  # numbers count
    (["abcdez vwxyz", "uvwxy abcde"], ["abcdef", "uvwxyz"], 0.6),  # a half of two test messages is no whole one
    (["pool and bins"], ["gym 18"], 0.4),  # nothing is shared, no empty piece either
)


def _pieces(text: str, size: int = 5, plain: bool = True) -> set[str]:
    text = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip() if plain else text
    return {text[i : i + size] for i in range(len(text) - size + 1)} or {text}


def _contained(
    training: list[str], tests: list[str], threshold: float, rule: str = "", size: int = 5, plain: bool = True
) -> Any:
    """The reference; a ``rule`` makes it a mistaken one."""
    suspects = []
    for place, text in enumerate(training):
        have, whole = _pieces(text, size, plain), re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
        for test in tests:
            want = _pieces(test, size, plain)
            shared = len(have & want)
            if len(min(want, key=len)) < size and rule != "short":
                shared = int(next(iter(want)) in whole)
            part = shared / {"jaccard": len(have | want), "of training": len(have)}.get(rule, len(want))
            if rule == "shares":
                suspects.append(round(part, 4))
                continue
            if part >= threshold if rule == "at least" else part > threshold:
                suspects.append(place)
                if rule != "twice":
                    break
    return [training[place] for place in suspects] if rule == "texts" else suspects


_LEAK_MISTAKES: dict[str, Callable[..., Any]] = {
    "A Jaccard similarity misses a copy inside a long message: divide by the test message's pieces.": (
        lambda a, b, t: _contained(a, b, t, "jaccard")
    ),
    "Divided by the training message's pieces: the share of the test message's is asked for.": (
        lambda a, b, t: _contained(a, b, t, "of training")
    ),
    "More than the threshold is asked for; yours also takes what equals it.": (
        lambda a, b, t: _contained(a, b, t, "at least")
    ),
    "Case and marks count in yours: bring both texts into one form first.": (
        lambda a, b, t: _contained(a, b, t, plain=False)
    ),
    "The pieces have 4 characters: 5 are asked for.": lambda a, b, t: _contained(a, b, t, size=4),
    "The pieces have 6 characters: 5 are asked for.": lambda a, b, t: _contained(a, b, t, size=6),
    "A test message shorter than a piece is overlooked: look for it as a whole.": (
        lambda a, b, t: _contained(a, b, t, "short")
    ),
    "The shares of several test messages are added up: one of them must be contained by itself.": (
        lambda a, b, t: [
            i for i, text in enumerate(a) if sum(_contained([text], [test], t, "shares")[0] for test in b) > t
        ]
    ),
    "Spaces are left out: a run of other characters becomes one space, not nothing.": lambda a, b, t: _contained(
        [text if len(text) < 5 else re.sub(r"[^a-z0-9]+", "", text.lower()) for text in a],
        [re.sub(r"[^a-z0-9]+", "", text.lower()) for text in b],
        t,
    ),
    "Only exact copies are found.": lambda a, b, t: [i for i, text in enumerate(a) if text in b],
    "Nothing is found, not even a copy.": lambda a, b, t: [],
    "Everything is suspected.": lambda a, b, t: list(range(len(a))),
}


def _judge_contaminated(answer: Any) -> str | None:
    values = []
    for training, tests, threshold in _CASES:
        value = expect(call(answer, list(training), list(tests), threshold), list, "what contaminated_places returns")
        for place in value:
            expect(place, int, "each place")
        values.append(value)
    wanted = [_contained(*case) for case in _CASES]
    if values != wanted and [sorted(set(value)) for value in values] == wanted:
        raise Mistake("The places are right, but they should stand in order, each once.")

    def say(case: int) -> str:
        training, tests, threshold = _CASES[case]
        place = next(iter(sorted(set(values[case]) ^ set(wanted[case]))), 0)
        if not 0 <= place < len(training):
            return f"There is no training message at place {place}: places run from 0."
        fault = "is overlooked" if place in wanted[case] else "is wrongly suspected"
        shares = {test: _contained([training[place]], [test], 0, "shares")[0] for test in tests}
        test = max(shares, key=lambda name: shares[name], default="")
        why = f": of {test[:40]!r} it has {shares[test]:.2f}, and the threshold is {threshold}" if tests else ""
        return f"{training[place][:60]!r} {fault}{why}."

    return compared(values, wanted, _CASES, _LEAK_MISTAKES, say)


_DOG = Exercise(
    id="quality/dog",
    level="🐕",
    title="A contamination test",
    goal="Find the training messages that give test messages away.",
    minutes=20,
    judge=_judge_contaminated,
    hints=(
        "Three small functions help: one that brings a text into one form, one for its pieces, one for the share of a "
        "test message that a training message has.",
        "The form: lower case, then `re.sub(pattern, ' ', text)` for runs of other characters; `[^a-z0-9]+` is one.",
        "A text of 7 characters has 3 pieces. Put them in a set: `a & b` is what two sets share.",
        "Divide what is shared by the number of pieces of the *test* message: so a copy in a long message is found.",
        "A test message of fewer than 5 characters has no piece: ask whether it stands in the training message "
        "(`short in text`), and count 1.0 or 0.0.",
    ),
    wrong=(
        *planted(_LEAK_MISTAKES),
        ("twice", lambda: lambda a, b, t: _contained(a, b, t)[::-1], "should stand in order"),
        ("texts", lambda: lambda a, b, t: _contained(a, b, t, "texts"), "each place should be a whole number"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

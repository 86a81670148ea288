"""The exercises of the notebook inference_pipeline: the softmax with temperature, and top-p by hand."""

import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, expect

_NEAR = 1e-6


def _numbers(value: Any, length: int, what: str) -> list[float]:
    """The value if it is a list of so many plain numbers. Raises Mistake."""
    numbers = expect(value, list, what)
    if len(numbers) != length:
        raise Mistake(f"{what} should have {length} numbers, one for each token, but it has {len(numbers)}.")
    for number in numbers:
        expect(number, float, f"each number of {what}")
    return numbers


def _like(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= _NEAR for a, b in zip(one, other, strict=True))


def _shown(numbers: list[float]) -> str:
    return "[" + ", ".join(f"{number:.3g}" for number in numbers) + "]"


# --- 🐢 Probabilities at a temperature ----------------------------------------------------------------------------

# The last have scores for which math.exp alone is too large or too small, also after their mean or their smallest
# score is taken away.
_SCORES = (
    ([3.0, 1.0, 2.0], 0.5),
    ([0.0, 0.0], 3.0),
    ([-2.0], 0.7),
    ([1.0, 1.0, -4.0, 0.5], 1.0),
    ([2000.0, 1998.0], 2.0),
    ([2000.0, -2000.0, 1999.0], 1.0),
    ([-2001.0, -2000.0], 1.0),
)


def _softmax(scores: list[float], temperature: float) -> list[float]:
    weights = [math.exp((score - max(scores)) / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


def _judge_probabilities(answer: Any) -> str | None:
    for scores, temperature in _SCORES:
        copied = list(scores)
        probabilities = _numbers(call(answer, copied, temperature), len(scores), "what probabilities_at returns")
        right = _softmax(scores, temperature)
        if not _like(probabilities, right):
            return _softmax_mistake(probabilities, right, scores, temperature)
        if copied != scores:
            return "The probabilities are right, but your function changed the list that it was given."
    return None


def _softmax_mistake(found: list[float], right: list[float], scores: list[float], temperature: float) -> str:
    """Name the mistake that leads to these probabilities."""
    powers = [math.exp(min(score / temperature, 700)) for score in scores]
    plain = _softmax(scores, 1)
    known = {
        "The temperature is ignored: divide the scores by it.": plain,
        "The scores are multiplied by the temperature: divide them by it.": _softmax(scores, 1 / temperature),
        "The probabilities are divided by the temperature: divide the scores, before the softmax.": [
            probability / temperature for probability in plain
        ],
        "These do not add up to 1: divide each by their sum.": powers,
        "The order is lost: the first probability belongs to the first score.": sorted(right, reverse=True),
        "The likeliest has the lowest probability: the sign of the exponent is wrong.": _softmax(
            [-score for score in scores], temperature
        ),
        "These are shares of the scores themselves: take math.exp of each first.": [
            score / sum(scores) if sum(scores) else 0.0 for score in scores
        ],
    }
    for message, probabilities in known.items():
        if _like(found, probabilities):
            return message
    return f"For {_shown(scores)} at {temperature:g} it should be {_shown(right)}, not {_shown(found)}."


def _exponential(scores: list[float], temperature: float) -> list[float]:
    weights = [math.exp(score / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


_TURTLE = Exercise(
    id="inference_pipeline/turtle",
    level="🐢",
    title="Probabilities at a temperature",
    goal="Compute the probabilities of tokens from their scores, at a temperature.",
    minutes=5,
    judge=_judge_probabilities,
    hints=(
        "Divide each score by the temperature. Then comes the ordinary softmax.",
        "The softmax: math.exp of each number, divided by the sum of all of these.",
        "math.exp(1000) is too large. Taking the largest number away from all of them first changes nothing in "
        "the result, and then no exponent is above 0.",
    ),
    wrong=(
        ("ignores it", lambda: lambda scores, temperature: _softmax(scores, 1), "temperature is ignored"),
        (
            "multiplies",
            lambda: lambda scores, temperature: _softmax(scores, 1 / temperature),
            "multiplied by",
        ),
        (
            "divides the probabilities",
            lambda: lambda scores, temperature: [c / temperature for c in _softmax(scores, 1)],
            "probabilities are divided",
        ),
        (
            "no sum",
            lambda: lambda scores, temperature: [math.exp(score / temperature) for score in scores],
            "do not add up to 1",
        ),
        ("no maximum", lambda: _exponential, "raised OverflowError"),
        (
            "sorted",
            lambda: lambda scores, temperature: sorted(_softmax(scores, temperature), reverse=True),
            "The order is lost",
        ),
        (
            "upside down",
            lambda: lambda scores, temperature: _softmax([-score for score in scores], temperature),
            "sign of the exponent",
        ),
        (
            "shares of scores",
            lambda: lambda scores, temperature: [score / sum(scores) for score in scores],
            "shares of the scores themselves",
        ),
        ("one number", lambda: lambda scores, temperature: [1.0], "should have 3 numbers"),
        ("a tuple", lambda: lambda scores, temperature: tuple(_softmax(scores, temperature)), "a list"),
        (
            "another number",
            lambda: lambda scores, temperature: [0.5 * c for c in _softmax(scores, temperature)],
            "it should be [0.867, 0.0159, 0.117]",
        ),
    ),
)

# --- 🐕 Top-p by hand ---------------------------------------------------------------------------------------

# Probabilities whose sums are exact in binary, so that "reaches" is no matter of rounding.
_PROBABILITIES = (
    ([0.125, 0.5, 0.375], 0.625),
    ([0.5, 0.25, 0.125, 0.125], 0.75),
    ([0.25, 0.25, 0.25, 0.25], 0.5),
    ([0.125, 0.125, 0.75], 0.0),
    ([0.25, 0.5, 0.25], 1.0),
    ([1.0], 0.3),
)


def _top_p(probabilities: list[float], top_p: float) -> list[float]:
    kept, together = [0.0] * len(probabilities), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        kept[token] = probabilities[token]
        together += probabilities[token]
        if together >= top_p:
            break
    return [probability / sum(kept) for probability in kept]


def _cut(probabilities: list[float], top_p: float, keep: Callable[[float, float], bool]) -> list[float]:
    """Keep a token by (what is likelier together, and with it), without sharing out anew."""
    kept, before = [0.0] * len(probabilities), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if keep(before, before + probabilities[token]):
            kept[token] = probabilities[token]
        before += probabilities[token]
    return kept


def _shared(kept: list[float]) -> list[float]:
    return [probability / sum(kept) for probability in kept] if sum(kept) else kept


def _judge_top_p(answer: Any) -> str | None:
    for probabilities, top_p in _PROBABILITIES:
        copied = list(probabilities)
        kept = _numbers(call(answer, copied, top_p), len(probabilities), "what keep_top_p returns")
        if not _like(kept, _top_p(probabilities, top_p)):
            return _top_p_mistake(kept, probabilities, top_p)
        if copied != probabilities:
            return "The probabilities are right, but your function changed the list that it was given."
    return None


def _top_p_mistake(found: list[float], probabilities: list[float], top_p: float) -> str:
    """Name the mistake that leads to these probabilities."""
    right = _top_p(probabilities, top_p)
    if top_p == 0 and not any(found):
        return "With top_p = 0 nothing is left: the likeliest token always stays."
    known = {
        "The probabilities that are left do not add up to 1: share them out anew.": [
            probability if kept else 0.0 for probability, kept in zip(probabilities, right, strict=True)
        ],
        "The token that reaches top_p is missing: it stays.": _shared(
            _cut(probabilities, top_p, lambda before, behind: behind < top_p)
        ),
        "One token too many: when top_p is reached exactly, the next one goes.": _shared(
            _cut(probabilities, top_p, lambda before, behind: before <= top_p)
        ),
        "Tokens are kept whose own probability is high: it is their sum, from the likeliest on, that counts.": _shared(
            [probability if probability >= top_p else 0.0 for probability in probabilities]
        ),
        "The order is lost: put each probability back where its token was.": sorted(right, reverse=True),
        "The tokens are taken as they come: begin with the likeliest.": _shared(_as_they_come(probabilities, top_p)),
        "Nothing was cut off.": probabilities,
    }
    for message, wrong in known.items():
        if _like(found, wrong):
            return message
    if _like(sorted(found), sorted(right)):
        return "The right probabilities, on the wrong tokens: of equal probabilities the earlier token comes first."
    return f"For {_shown(probabilities)} and {top_p:g} it should be {_shown(right)}, not {_shown(found)}."


def _as_they_come(probabilities: list[float], top_p: float) -> list[float]:
    kept, together = [0.0] * len(probabilities), 0.0
    for token, probability in enumerate(probabilities):
        kept[token], together = probability, together + probability
        if together >= top_p:
            break
    return kept


def _latest_first(probabilities: list[float], top_p: float) -> list[float]:
    return _top_p(probabilities[::-1], top_p)[::-1]


def _none_at_zero(probabilities: list[float], top_p: float) -> list[float]:
    return _top_p(probabilities, top_p) if top_p else [0.0] * len(probabilities)


_DOG = Exercise(
    id="inference_pipeline/dog",
    level="🐕",
    title="Top-p by hand",
    goal="Cut off the tail of a distribution by hand, as top-p does.",
    minutes=20,
    judge=_judge_top_p,
    hints=(
        "Sort the *positions* by probability, not the probabilities: "
        "`sorted(range(len(probabilities)), key=lambda i: -probabilities[i])`. Equal ones keep their order.",
        "Go through them, put each probability at its place in a list of zeros, and add it up. Stop after the one "
        "with which the sum reaches top_p.",
        "Adding first and asking afterwards keeps at least one token, also for top_p = 0.",
        "At the end, divide every kept probability by their sum.",
    ),
    wrong=(
        (
            "not shared out",
            lambda: lambda probabilities, top_p: _cut(probabilities, top_p, lambda before, behind: before < top_p),
            "share them out anew",
        ),
        (
            "stops before",
            lambda: (
                lambda probabilities, top_p: _shared(_cut(probabilities, top_p, lambda before, behind: behind < top_p))
            ),
            "The token that reaches top_p is missing",
        ),
        (
            "one too many",
            lambda: (
                lambda probabilities, top_p: _shared(_cut(probabilities, top_p, lambda before, behind: before <= top_p))
            ),
            "One token too many",
        ),
        (
            "each by itself",
            lambda: lambda probabilities, top_p: _shared([c if c >= top_p else 0.0 for c in probabilities]),
            "whose own probability is high",
        ),
        (
            "sorted",
            lambda: lambda probabilities, top_p: sorted(_top_p(probabilities, top_p), reverse=True),
            "put each probability back",
        ),
        (
            "as they come",
            lambda: lambda probabilities, top_p: _shared(_as_they_come(probabilities, top_p)),
            "begin with the likeliest",
        ),
        ("all of them", lambda: lambda probabilities, top_p: list(probabilities), "Nothing was cut off"),
        ("the later first", lambda: _latest_first, "on the wrong tokens"),
        ("nothing at zero", lambda: _none_at_zero, "nothing is left"),
        ("only the kept", lambda: lambda probabilities, top_p: [1.0], "should have 3 numbers"),
        (
            "another number",
            lambda: lambda probabilities, top_p: [0.9 * c for c in _top_p(probabilities, top_p)],
            "it should be [0, 0.571, 0.429]",
        ),
    ),
)

EXERCISES = (_TURTLE, _DOG)

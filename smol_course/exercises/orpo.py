"""The exercises of the notebook orpo: the odds-ratio term, and a log odds ratio that holds at the extremes."""

import math
from typing import Any

from smol_course.exercises import Exercise, call, expect

# --- 🐢 The odds-ratio term ---------------------------------------------------------------------------------

_PAIRS = ((0.5, 0.2), (0.3, 0.6), (0.9, 0.4), (0.25, 0.25), (0.05, 0.7))


def _odds(p: float) -> float:
    return p / (1 - p)


def _term(p_chosen: float, p_rejected: float) -> float:
    return math.log1p(_odds(p_rejected) / _odds(p_chosen))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _judge_term(answer: Any) -> str | None:
    for chosen, rejected in _PAIRS:
        value = _number(call(answer, chosen, rejected), "what odds_ratio_term returns")
        wanted = _term(chosen, rejected)
        if not _close(value, wanted, 1e-4):
            return _term_mistake(value, wanted, chosen, rejected)
    return None


def _number(value: Any, what: str) -> float:
    """A float, or what a tensor or array without dimensions holds. Raises Mistake or NotYet."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    return float(expect(value, (float, int), what))


def _close(value: float, wanted: float, tolerance: float) -> bool:
    return math.isfinite(value) and math.isclose(value, wanted, rel_tol=tolerance, abs_tol=tolerance)


def _term_mistake(value: float, wanted: float, chosen: float, rejected: float) -> str:
    """Name the mistake that leads to this value."""
    odds, ratio = _odds(chosen), _odds(chosen) / _odds(rejected)
    known = {
        "These are probabilities, not odds: divide each p by 1 - p first.": math.log1p(rejected / chosen),
        "Chosen and rejected are exchanged: the chosen one's odds stand above the line.": _term(rejected, chosen),
        "The sign is missing: a loss is minus the log sigmoid.": -wanted,
        "The last logarithm is missing: this is the sigmoid itself.": _sigmoid(math.log(ratio)),
        "The sigmoid is missing: this is the log odds ratio itself.": math.log(ratio),
        "The sigmoid is missing: this is minus the log odds ratio.": -math.log(ratio),
        "The first logarithm is missing: the sigmoid gets the ratio, and should get its logarithm.": -math.log(
            _sigmoid(ratio)
        ),
        "This is the odds ratio: its logarithm, the sigmoid and the last logarithm are missing.": ratio,
        "This is in bits (a logarithm to base 2); nats are asked for.": wanted / math.log(2),
        "The term is multiplied by a weight of 0.1: leave it out here.": 0.1 * wanted,
        "The rejected answer is left out: divide by its odds.": -math.log(_sigmoid(math.log(odds))),
    }
    for message, number in known.items():
        if _close(value, number, 1e-4):
            return message
    return f"For {chosen} and {rejected} the term should be {wanted:.4f}, but yours is {value:.4f}."


_TURTLE = Exercise(
    id="orpo/turtle",
    level="🐢",
    title="The odds-ratio term",
    goal="Write the odds-ratio term from two probabilities.",
    minutes=5,
    judge=_judge_term,
    hints=(
        "From the inside out: odds of each, their ratio, its logarithm, the sigmoid of that, its logarithm, minus.",
        "The odds of p are `p / (1 - p)`. The chosen one's stand above the line of the ratio.",
        "`sigmoid(x)` is `1 / (1 + math.exp(-x))`. The notebook has imported `math`.",
    ),
    wrong=(
        ("probabilities", lambda: lambda c, r: math.log1p(r / c), "These are probabilities, not odds"),
        ("exchanged", lambda: lambda c, r: _term(r, c), "are exchanged"),
        ("no minus", lambda: lambda c, r: -_term(c, r), "The sign is missing"),
        ("no last logarithm", lambda: lambda c, r: math.exp(-_term(c, r)), "this is the sigmoid itself"),
        ("no sigmoid", lambda: lambda c, r: -math.log(_odds(c) / _odds(r)), "minus the log odds ratio"),
        (
            "no first logarithm",
            lambda: lambda c, r: -math.log(_sigmoid(_odds(c) / _odds(r))),
            "The first logarithm is missing",
        ),
        ("the ratio", lambda: lambda c, r: _odds(c) / _odds(r), "This is the odds ratio"),
        ("bits", lambda: lambda c, r: _term(c, r) / math.log(2), "in bits"),
        ("weighted", lambda: lambda c, r: 0.1 * _term(c, r), "by a weight of 0.1"),
        ("text", lambda: lambda c, r: f"{_term(c, r):.3f}", "should be a number or a whole number, but it is a text"),
    ),
)


# --- 🐕 A log odds ratio that holds -------------------------------------------------------------------------

# From tame to extreme: exp(-2000) is 0 and exp(-1e-18) is 1 in floats of 64 bits.
_LOGS = (
    (math.log(0.5), math.log(0.2)),
    (-0.4, -1.7),
    (-2.5, -0.1),
    (-1.0, -1.0),
    (-1e-9, -0.7),
    (-3.0, -1e-18),
    (-1e-5, -1e-12),
    (-40.0, -2000.0),
    (-2000.0, -0.5),
)


def _log1mexp(x: float) -> float:
    return math.log(-math.expm1(x)) if x > -math.log(2) else math.log1p(-math.exp(x))


def _log_odds(x: float) -> float:
    return x - _log1mexp(x)


def _judge_ratio(answer: Any) -> str | None:
    for chosen, rejected in _LOGS:
        where = f"For log_chosen = {chosen:.4g} and log_rejected = {rejected:.4g}"
        try:
            value = _number(call(answer, chosen, rejected), "what log_odds_ratio returns")
        except Exception as error:
            if _extreme(chosen, rejected) and any(
                word in str(error) for word in ("domain error", "division by zero", "expected a positive")
            ):
                return f"{where}: {_lost(chosen, rejected)}"
            raise
        wanted = _log_odds(chosen) - _log_odds(rejected)
        if not _close(value, wanted, 1e-9):
            if _extreme(chosen, rejected):
                return f"{where} it should be {wanted:.6g}, but yours is {value:.6g}: {_lost(chosen, rejected)}"
            return _ratio_mistake(value, wanted, chosen, rejected)
    return None


def _extreme(chosen: float, rejected: float) -> bool:
    return max(chosen, rejected) > -1e-3 or min(chosen, rejected) < -30


def _lost(chosen: float, rejected: float) -> str:
    """What a plain formula loses at this extreme."""
    if max(chosen, rejected) > -1e-3:
        return "1 - exp(x) loses its digits when exp(x) is near 1. Near 0, `-math.expm1(x)` is that difference, whole."
    return "exp(x) is 0 as a float, and its logarithm is lost. Log p is given: never go through p and back."


def _ratio_mistake(value: float, wanted: float, chosen: float, rejected: float) -> str:
    """Name the mistake that leads to this value for a tame pair."""
    both = _log1mexp(chosen) - _log1mexp(rejected)
    known = {
        "This is the ratio of probabilities, not of odds: log(1 - p) of both is missing.": chosen - rejected,
        "The sign before log(1 - p) is wrong: odds divide by 1 - p, so it is subtracted.": chosen - rejected + both,
        "Chosen and rejected are exchanged.": -wanted,
        "This is the odds ratio: its logarithm is asked for.": math.exp(wanted),
        "This is the whole odds-ratio term: stop before the sigmoid.": math.log1p(math.exp(-wanted)),
        "This is minus the whole odds-ratio term: stop before the sigmoid.": -math.log1p(math.exp(-wanted)),
        "Only the chosen answer's log odds: subtract the rejected one's.": _log_odds(chosen),
        "The two log odds are added: subtract the rejected one's.": _log_odds(chosen) + _log_odds(rejected),
        "Only log(1 - p) is compared: log p of both is missing.": -both,
    }
    for message, number in known.items():
        if _close(value, number, 1e-6):
            return message
    return (
        f"For log_chosen = {chosen:.4g} and log_rejected = {rejected:.4g} it should be {wanted:.9g}, "
        f"but yours is {value:.9g}."
    )


def _through_probabilities(chosen: float, rejected: float) -> float:
    return math.log(_odds(math.exp(chosen))) - math.log(_odds(math.exp(rejected)))


def _with(log1m: Any) -> Any:
    """Return a function that makes an answer with this log(1 - exp(x))."""
    return lambda: lambda c, r: (c - log1m(c)) - (r - log1m(r))


_DOG = Exercise(
    id="orpo/dog",
    level="🐕",
    title="A log odds ratio that holds",
    goal="Compute the log odds ratio from log-probabilities, right at the extremes too.",
    minutes=20,
    judge=_judge_ratio,
    hints=(
        "Write small functions: `log1mexp(x)`, then the log odds of one answer with it, then the difference of two.",
        "The log odds of one answer are `x - log1mexp(x)`.",
        "When x is close to 0, write 1 - exp(x) as `-math.expm1(x)`, and take its logarithm.",
        "When x is far below 0, exp(x) is tiny: log(1 - tiny) is `math.log1p(-math.exp(x))`. Change over at -log 2.",
    ),
    wrong=(
        ("probabilities", lambda: lambda c, r: c - r, "the ratio of probabilities"),
        ("sign", lambda: lambda c, r: (c + _log1mexp(c)) - (r + _log1mexp(r)), "The sign before log(1 - p)"),
        ("exchanged", lambda: lambda c, r: _log_odds(r) - _log_odds(c), "are exchanged"),
        ("the ratio", lambda: lambda c, r: math.exp(_log_odds(c) - _log_odds(r)), "its logarithm is asked for"),
        (
            "the whole term",
            lambda: lambda c, r: math.log1p(math.exp(_log_odds(r) - _log_odds(c))),
            "This is the whole odds-ratio term",
        ),
        ("one answer", lambda: lambda c, r: _log_odds(c), "Only the chosen answer's"),
        ("through p", lambda: _through_probabilities, "loses its digits when exp(x) is near 1"),
        (
            "through p, clipped",
            lambda: (
                lambda c, r: sum(
                    sign * (math.log(max(math.exp(x), 1e-300)) - _log1mexp(x)) for sign, x in ((1, c), (-1, r))
                )
            ),
            "never go through p and back",
        ),
        ("naive", _with(lambda x: math.log(1 - math.exp(x) + 1e-12)), "but yours is"),
        ("log1p alone", _with(lambda x: math.log1p(-math.exp(min(x, -1e-15)))), "= -1e-09 and"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

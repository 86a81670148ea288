"""The exercises of the notebook orpo: the odds-ratio term, and a log odds ratio that holds at the extremes."""

import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Nearly, call, compared, number, planted

# --- 🐢 The odds-ratio term ---------------------------------------------------------------------------------

_PAIRS = ((0.5, 0.2), (0.3, 0.6), (0.9, 0.4), (0.25, 0.25), (0.05, 0.7))


def _odds(p: float) -> float:
    return p / (1 - p)


def _term(p_chosen: float, p_rejected: float) -> float:
    return math.log1p(_odds(p_rejected) / _odds(p_chosen))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


_Term = Callable[[float, float], float]
_TERM_MISTAKES: dict[str, _Term] = {
    "These are probabilities, not odds: divide each p by 1 - p first.": lambda c, r: math.log1p(r / c),
    "Chosen and rejected are exchanged, or both odds turned round: each p / (1 - p), chosen on top.": lambda c, r: (
        -math.log(_sigmoid(math.log(_odds(r)) - math.log(_odds(c))))
    ),
    "The sign is missing: a loss is minus the log sigmoid.": lambda c, r: -_term(c, r),
    "The last logarithm is missing: this is the sigmoid itself.": lambda c, r: _sigmoid(math.log(_odds(c) / _odds(r))),
    "The sigmoid is missing: this is the log odds ratio itself.": lambda c, r: math.log(_odds(c) / _odds(r)),
    "The sigmoid is missing: this is minus the log odds ratio.": lambda c, r: -math.log(_odds(c) / _odds(r)),
    "The first logarithm is missing: the sigmoid gets the ratio, and should get its logarithm.": lambda c, r: (
        -math.log(_sigmoid(_odds(c) / _odds(r)))
    ),
    "The sigmoid gets the difference of the odds: it should get the logarithm of their ratio.": lambda c, r: (
        -math.log(_sigmoid(_odds(c) - _odds(r)))
    ),
    "This is the odds ratio: its logarithm, the sigmoid and the last logarithm are missing.": lambda c, r: (
        _odds(c) / _odds(r)
    ),
    "This is in bits (a logarithm to base 2); nats are asked for.": lambda c, r: _term(c, r) / math.log(2),
    "The term is multiplied by a weight of 0.1: leave it out here.": lambda c, r: 0.1 * _term(c, r),
    "The rejected answer is left out: divide by its odds.": lambda c, r: -math.log(_sigmoid(math.log(_odds(c)))),
    "The chosen answer is left out: its odds are divided by those of the rejected one.": lambda c, r: (
        -math.log(_sigmoid(-math.log(_odds(r))))
    ),
}


def _judge_term(answer: Any) -> str | None:
    values = [Nearly(number(call(answer, *pair), "what odds_ratio_term returns"), 1e-4) for pair in _PAIRS]
    wanted = [_term(*pair) for pair in _PAIRS]

    def say(place: int) -> str:
        chosen, rejected = _PAIRS[place]
        return f"For {chosen} and {rejected} the term should be {wanted[place]:.4f}, but yours is {values[place]:.4f}."

    return compared(values, wanted, _PAIRS, _TERM_MISTAKES, say)


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
        *planted(_TERM_MISTAKES),
        ("text", lambda: lambda c, r: f"{_term(c, r):.3f}", "should be a number, but it is a text"),
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
    tame = [pair for pair in _LOGS if not _extreme(*pair)]
    values = [Nearly(number(call(answer, *pair), "what log_odds_ratio returns"), 1e-9) for pair in tame]
    wanted = [_log_odds(chosen) - _log_odds(rejected) for chosen, rejected in tame]

    def say(place: int) -> str:
        chosen, rejected = tame[place]
        return (
            f"For log_chosen = {chosen:.4g} and log_rejected = {rejected:.4g} it should be {wanted[place]:.9g}, "
            f"but yours is {values[place]:.9g}."
        )

    return compared(values, wanted, tame, _RATIO_MISTAKES, say) or next(
        (mistake for pair in _LOGS if pair not in tame and (mistake := _extreme_mistake(answer, *pair))), None
    )


def _extreme_mistake(answer: Any, chosen: float, rejected: float) -> str | None:
    """What goes wrong at an extreme, for a function that is right where nothing is extreme."""
    where = f"For log_chosen = {chosen:.4g} and log_rejected = {rejected:.4g}"
    try:
        value = number(call(answer, chosen, rejected), "what log_odds_ratio returns")
    except Exception as error:
        if any(word in str(error) for word in ("domain error", "division by zero", "expected a positive")):
            return f"{where}: {_lost(chosen, rejected)}"
        raise
    wanted = _log_odds(chosen) - _log_odds(rejected)
    if Nearly(value, 1e-9) == wanted:
        return None
    return f"{where} it should be {wanted:.12g}, but yours is {value:.12g}: {_lost(chosen, rejected)}"


def _extreme(chosen: float, rejected: float) -> bool:
    return max(chosen, rejected) > -1e-3 or min(chosen, rejected) < -30


def _lost(chosen: float, rejected: float) -> str:
    """What a plain formula loses at this extreme."""
    if max(chosen, rejected) > -1e-3:
        return "1 - exp(x) loses its digits when exp(x) is near 1. Near 0, `-math.expm1(x)` is that difference, whole."
    return "exp(x) is 0 as a float, and its logarithm is lost. Log p is given: never go through p and back."


_RATIO_MISTAKES: dict[str, _Term] = {
    "This is the ratio of probabilities, not of odds: log(1 - p) of both is missing.": lambda c, r: c - r,
    "The sign before log(1 - p) is wrong: odds divide by 1 - p, so it is subtracted.": lambda c, r: (
        (c + _log1mexp(c)) - (r + _log1mexp(r))
    ),
    "The sign is turned: the rejected one's log odds are subtracted from the chosen one's.": lambda c, r: (
        _log_odds(r) - _log_odds(c)
    ),
    "This is the odds ratio: its logarithm is asked for.": lambda c, r: math.exp(_log_odds(c) - _log_odds(r)),
    "This is the whole odds-ratio term: stop before the sigmoid.": lambda c, r: math.log1p(
        math.exp(_log_odds(r) - _log_odds(c))
    ),
    "This is minus the whole odds-ratio term: stop before the sigmoid.": lambda c, r: (
        -math.log1p(math.exp(_log_odds(r) - _log_odds(c)))
    ),
    "Only the chosen answer's log odds: subtract the rejected one's.": lambda c, r: _log_odds(c),
    "The two log odds are added: subtract the rejected one's.": lambda c, r: _log_odds(c) + _log_odds(r),
    "Only log(1 - p) is compared: log p of both is missing.": lambda c, r: _log1mexp(r) - _log1mexp(c),
    "The logarithms are taken for probabilities: log p is given, not p.": lambda c, r: math.log(
        abs(c / (1 - c)) / abs(r / (1 - r))
    ),
    "The logarithm has base 2; nats are asked for.": lambda c, r: (_log_odds(c) - _log_odds(r)) / math.log(2),
}


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
        *planted(_RATIO_MISTAKES),
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

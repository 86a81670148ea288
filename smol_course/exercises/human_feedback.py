"""The exercises of the notebook human_feedback: the loss of a reward model, and how much two people agree.

Both are judged by numbers alone, so any way of computing them counts.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, call, number

# --- 🐢 The loss of a reward model ----------------------------------------------------------------------------

_REWARDS = (
    ([2.0], [0.0]),
    ([1.5, -0.5, 3.0], [0.5, 0.5, 2.5]),
    ([0.2, 0.2], [0.2, -1.0]),
    ([-3.0, 4.0, 0.0, 1.0], [1.0, -4.0, 0.0, 0.5]),
    ([900.0], [-900.0]),
    ([-900.0], [900.0]),
)


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=1e-5, abs_tol=1e-6)  # floats of 32 bits will do


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _losses(chosen: list[float], rejected: list[float]) -> list[float]:
    return [_softplus(bad - good) for good, bad in zip(chosen, rejected, strict=True)]


def _judge_loss(answer: Any) -> str | None:
    for chosen, rejected in _REWARDS:
        copies = list(chosen), list(rejected)
        value = number(call(answer, *copies), "what pair_loss returns")
        wanted = _mean(_losses(chosen, rejected))
        if not _close(value, wanted):
            return _loss_mistake(value, wanted, chosen, rejected)
        if copies != (chosen, rejected):
            return "The loss is right, but your function changed the lists that it was given."
    return None


def _loss_mistake(value: float, wanted: float, chosen: list[float], rejected: list[float]) -> str:
    """Name the mistake that leads to this value."""
    gaps = [good - bad for good, bad in zip(chosen, rejected, strict=True)]
    bounded = [min(max(gap, -700.0), 700.0) for gap in gaps]
    shares = [1 / (1 + math.exp(-gap)) for gap in bounded]
    known = {
        "The two are swapped: this loss is small when the rejected answer gets the higher reward.": _mean(
            _losses(rejected, chosen)
        ),
        "This is a sum: divide by the number of pairs.": sum(_losses(chosen, rejected)),
        "This is the probability that the chosen one wins: the logarithm is missing.": _mean(shares),
        "This is the probability that the rejected one wins: the logarithm is missing.": 1 - _mean(shares),
        "The sign is wrong: a loss is minus the logarithm of the probability.": -wanted,
        "This is the bare difference of the rewards: sigmoid and logarithm are missing.": _mean(gaps),
        "This is the bare difference of the rewards, rejected minus chosen: sigmoid and logarithm are missing.": (
            -_mean(gaps)
        ),
        "The mean is taken too early: take the loss of each pair first, then the mean of the losses.": _softplus(
            -_mean(gaps)
        ),
        "This is in bits (a logarithm to base 2); nats are asked for.": wanted / math.log(2),
    }
    for message, wrong in known.items():
        if _close(value, wrong):
            return message
    if max(map(abs, gaps)) > 700:
        return f"For a difference of {gaps[0]:.0f} the loss should be {wanted:.4g}, but yours is {value:.4g}."
    return f"For chosen {chosen} and rejected {rejected} the loss should be {wanted:.4f}, but yours is {value:.4f}."


def _pairwise(one: Callable[[float], float]) -> Callable[[], Any]:
    """Return a function that makes a wrong loss: the mean of something of each difference."""
    return lambda: lambda chosen, rejected: _mean([one(good - bad) for good, bad in zip(chosen, rejected, strict=True)])


_TURTLE = Exercise(
    id="human_feedback/turtle",
    level="🐢",
    title="The loss of a reward model",
    goal="Write the loss that trained the reward model.",
    minutes=5,
    judge=_judge_loss,
    hints=(
        "For each pair: how much higher is the chosen answer's reward? That difference is all that counts.",
        "The sigmoid 1 / (1 + exp(-difference)) is the probability that the chosen answer wins. The loss of a pair is "
        "minus its natural logarithm. Take the mean over pairs at the end.",
        "-log sigmoid(d) is the same as log(1 + exp(-d)). For d = -1800, exp overflows. There the loss is almost "
        "exactly 1800.",
        "`torch.nn.functional.softplus(-d)` computes log(1 + exp(-d)) for any d, with d a tensor. Or by hand: "
        "max(-d, 0) + math.log1p(math.exp(-abs(d))).",
    ),
    wrong=(
        ("swapped", lambda: lambda chosen, rejected: _mean(_losses(rejected, chosen)), "The two are swapped"),
        ("sum", lambda: lambda chosen, rejected: sum(_losses(chosen, rejected)), "This is a sum"),
        ("probability", _pairwise(lambda d: 1 / (1 + math.exp(-d))), "the chosen one wins: the logarithm"),
        ("lost probability", _pairwise(lambda d: 1 / (1 + math.exp(d))), "the rejected one wins: the logarithm"),
        ("sign", _pairwise(lambda d: -_softplus(-d)), "The sign is wrong"),
        ("difference", _pairwise(lambda d: d), "This is the bare difference of the rewards: sigmoid"),
        ("bits", _pairwise(lambda d: _softplus(-d) / math.log(2)), "in bits"),
        (
            "mean of the rewards first",
            lambda: lambda chosen, rejected: _softplus(_mean(rejected) - _mean(chosen)),
            "The mean is taken too early",
        ),
        ("overflow", _pairwise(lambda d: math.log(1 + math.exp(-d))), "raised OverflowError"),
        ("capped", _pairwise(lambda d: _softplus(-max(d, -50.0))), "For a difference of -1800"),
    ),
)


# --- 🐕 More than chance --------------------------------------------------------------------------------------

_LABELS = (
    (["up"] * 4 + ["down"] * 2, ["up"] * 5 + ["down"]),
    (["up"] * 8 + ["down"] * 2, ["up"] * 7 + ["down", "up", "down"]),
    (["0", "0", "1", "tie", "1", "0"], ["0", "1", "1", "tie", "0", "0"]),
    (["a", "b", "a", "b", "a", "a"], ["b", "a", "b", "b", "b", "a"]),
    (["up", "down", "up"], ["up", "down", "up"]),
    (["up", "up", "up"], ["down", "up", "skip"]),
    (["up", "up", "up"], ["up", "up", "up"]),
)


def _agreement(first: list[str], second: list[str]) -> float:
    return _mean([float(label == other) for label, other in zip(first, second, strict=True)])


def _chance(first: list[str], second: list[str]) -> float:
    """The share of agreement if both kept their habits and looked at nothing."""
    left, right = Counter(first), Counter(second)
    return sum(left[label] * right[label] for label in left) / len(first) ** 2


def _corrected(seen: float, chance: float) -> float:
    return (seen - chance) / (1 - chance) if chance < 1 else 0.0


def _kappa(first: list[str], second: list[str]) -> float:
    return _corrected(_agreement(first, second), _chance(first, second))


def _pooled(first: list[str], second: list[str]) -> float:
    return _chance(first + second, first + second)


def _judge_kappa(answer: Any) -> str | None:
    for first, second in _LABELS:
        copies = list(first), list(second)
        value = number(call(answer, *copies), "what kappa returns")
        if not _close(value, _kappa(first, second)):
            return _kappa_mistake(value, first, second)
        if copies != (first, second):
            return "Kappa is right, but your function changed the lists that it was given."
    return None


def _kappa_mistake(value: float, first: list[str], second: list[str]) -> str:
    """Name the mistake that leads to this value."""
    seen, chance = _agreement(first, second), _chance(first, second)
    if chance == 1:
        return f"Both give one and the same label only: 0 is asked for there, but yours is {value:.4f}."
    even = 1 / len({*first, *second})
    known = {
        "This is the bare agreement: take away what chance alone would give.": seen,
        "Chance is taken as if all labels were equally common: use how often each person gives each.": _corrected(
            seen, even
        ),
        "Both people's labels are pooled for chance (that is Scott's pi): use each person's own shares.": _corrected(
            seen, _pooled(first, second)
        ),
        "The agreement beyond chance is not divided by the most that it could be, which is 1 - chance.": seen - chance,
        "This is the agreement expected by chance alone, not kappa.": chance,
        "This is the share of disagreement, not kappa.": 1 - seen,
        "It is cut off at 0: people who agree less than by chance get a negative kappa.": max(
            0.0, _corrected(seen, chance)
        ),
    }
    for message, wrong in known.items():
        if _close(value, wrong):
            return message
    return f"For {first} and {second} kappa should be {_kappa(first, second):.4f}, but yours is {value:.4f}."


def _divides(first: list[str], second: list[str]) -> float:
    chance = _chance(first, second)
    return (_agreement(first, second) - chance) / (1 - chance)


_DOG = Exercise(
    id="human_feedback/dog",
    level="🐕",
    title="More than chance",
    goal="Measure how much two people agree beyond chance: Cohen's kappa.",
    minutes=20,
    judge=_judge_kappa,
    hints=(
        "Two numbers are needed: the share of items on which both say the same, and the share on which they would by "
        "chance.",
        "Chance: suppose that each person keeps their habits and looks at nothing. For one label, the probability that "
        "both give it is the product of their two shares of it. Add these up over the labels.",
        "`collections.Counter(first)` counts one person's labels; a label that is not there counts 0. A share is a "
        "count divided by the number of items.",
        "kappa = (agreement - chance) / (1 - chance). If chance is 1, the division is impossible: return 0.0.",
    ),
    wrong=(
        ("bare agreement", lambda: _agreement, "This is the bare agreement"),
        (
            "labels equally common",
            lambda: lambda a, b: _corrected(_agreement(a, b), 1 / max(2, len({*a, *b}))),
            "as if all labels were equally common",
        ),
        ("Scott's pi", lambda: lambda a, b: _corrected(_agreement(a, b), _pooled(a, b)), "Scott's pi"),
        ("not divided", lambda: lambda a, b: _agreement(a, b) - _chance(a, b), "not divided by the most"),
        ("chance", lambda: _chance, "expected by chance alone"),
        ("disagreement", lambda: lambda a, b: 1 - _agreement(a, b), "the share of disagreement"),
        ("no negative", lambda: lambda a, b: max(0.0, _kappa(a, b)), "cut off at 0"),
        ("divides by zero", lambda: _divides, "raised ZeroDivisionError"),
        (
            "one for a single label",
            lambda: lambda a, b: _kappa(a, b) if _chance(a, b) < 1 else 1.0,
            "Both give one and the same label only",
        ),
    ),
)

EXERCISES = (_TURTLE, _DOG)

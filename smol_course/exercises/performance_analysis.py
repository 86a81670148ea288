"""The exercises of the notebook performance_analysis: perplexity over pages, and a gate.

The judge of the 🐕 hands over lists of right and wrong: it cannot know whether the learner's own gate asks a model
the same questions twice.
"""

import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Nearly, call, compared, expect, number, planted

# --- 🐢 Perplexity ------------------------------------------------------------------------------------------

# Mean nats per token of each page, and how many tokens it has. In the first, no two mistakes give one number; the sum
# of the second is no whole number; in the third, two pages are alike, and both count.
_PAGES = (([2.0, 3.0, 4.5], [400, 100, 20]), ([1.53], [7]), ([3.0, 3.0, 1.25], [10, 10, 40]))


def _perplexity(losses: list[float], tokens: list[int]) -> float:
    return math.exp(_total(losses, tokens) / sum(tokens))


def _total(losses: list[float], tokens: list[int]) -> float:
    return sum(loss * count for loss, count in zip(losses, tokens, strict=True))


_Of = Callable[[list[float], list[int]], float]
_PERPLEXITY_MISTAKES: dict[str, _Of] = {
    "Every page counts alike here: a page with more tokens weighs more.": lambda x, n: math.exp(sum(x) / len(x)),
    "These are the pages' perplexities, averaged: average the nats first, and take exp once.": lambda x, n: (
        sum(map(math.exp, x)) / len(x)
    ),
    "The perplexities are weighed by tokens: weigh the nats, and take exp at the end.": lambda x, n: (
        sum(math.exp(loss) * count for loss, count in zip(x, n, strict=True)) / sum(n)
    ),
    "This is the loss: perplexity is its exponential.": lambda x, n: _total(x, n) / sum(n),
    "These are all nats together: divide by the number of tokens, then take exp.": _total,
    "Divided by the pages: divide by the tokens.": lambda x, n: _total(x, n) / len(x),
    "The base is e, because the losses are nats: exp(loss), not 2 ** loss.": lambda x, n: 2 ** (_total(x, n) / sum(n)),
    "The sign is turned: this is the mean probability of a token, not its inverse.": lambda x, n: math.exp(
        -_total(x, n) / sum(n)
    ),
    "The losses are added up without their tokens: a page's loss times its tokens is the page's sum.": lambda x, n: (
        math.exp(sum(x) / sum(n))
    ),
}


def _judge_perplexity(answer: Any) -> str | None:
    values = [Nearly(number(call(answer, list(x), list(n)), "what perplexity returns"), 1e-4) for x, n in _PAGES]
    wanted = [_perplexity(*case) for case in _PAGES]

    def say(place: int) -> str:
        losses, tokens = _PAGES[place]
        return f"For losses {losses} and tokens {tokens} it is {wanted[place]:.4f}, but yours is {values[place]:.4g}."

    return compared(values, wanted, _PAGES, _PERPLEXITY_MISTAKES, say)


_TURTLE = Exercise(
    id="performance_analysis/turtle",
    level="🐢",
    title="Perplexity",
    goal="Compute the perplexity of several pages from their losses.",
    minutes=5,
    judge=_judge_perplexity,
    hints=(
        "Perplexity is the exponential of the mean loss per token, over all tokens of all pages.",
        "A page's loss is a mean. Times its tokens it is the page's sum.",
        "`math.exp(sum of all sums / number of all tokens)`.",
    ),
    wrong=(
        *planted(_PERPLEXITY_MISTAKES),
        ("a list", lambda: lambda x, n: [math.exp(loss) for loss in x], "but it is a list"),
        ("off by one", lambda: lambda x, n: _perplexity(x, n) + 1, "but yours is"),
    ),
)

# --- 🐕 A gate ----------------------------------------------------------------------------------------------

_FEWEST = 30
_ANSWERS = ("pass", "fail", "cannot tell")


def _p(gained: int, lost: int) -> float:
    n, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


_Results = dict[str, bool]
_KINDS = {"+": (True, True), "g": (False, True), "l": (True, False), "-": (False, False)}


def _tables(kinds: str) -> tuple[_Results, _Results]:
    """Results before and after of one message for each sign: both right, gained, lost, none right."""
    names = [f"test-{number:04d}" for number in range(len(kinds))]
    before, after = ({name: _KINDS[sign][side] for name, sign in zip(names, kinds, strict=True)} for side in (0, 1))
    return before, after


def _apart(
    before: _Results, after: _Results, only_before: int = 0, only_after: int = 0, right: bool = False
) -> tuple[_Results, _Results]:
    """The same with messages that only one of them was asked, all of them at the beginning; ``right``: those after."""
    old, new = {f"old-{k}": True for k in range(only_before)}, {f"new-{k}": right for k in range(only_after)}
    return old | before, new | after


def _turned(before: _Results, after: _Results) -> tuple[_Results, _Results]:
    """The same with `after` in another order: whoever pairs by place compares messages with each other."""
    return before, dict(reversed(after.items()))


_NAMED = _tables("+" * 15 + "gl" + "-" * 8)
# Before, after, what the gate should say, and the case in words. The first and the last of the messages that were
# lost (or gained) decide where they stand first and last.
_GATES: tuple[tuple[_Results, _Results, str, str], ...] = (
    (*_tables("+" * 60 + "g" * 4 + "l" * 6 + "-" * 30), "pass", "4 gained and 6 lost is what chance gives"),
    (
        *_turned(*_tables("+" * 60 + "gg" + "l" * 16 + "-" * 22)),
        "fail",
        "2 gained and 16 lost is more than chance gives",
    ),
    (*_tables("+" * 50 + "g" * 20 + "lll" + "-" * 27), "pass", "20 gained and 3 lost: it got better"),
    (*_tables("+" * 12 + "l" * 8 + "-" * 5), "cannot tell", "25 messages are too few"),
    (
        *_apart(*_tables("+" * 40 + "gggl" + "ll" + "-" * 14), 40, 40),
        "pass",
        "3 gained and 3 lost of the messages that both were asked",
    ),
    (
        *_apart(_NAMED[0], {f"other-{name}": right for name, right in _NAMED[1].items()}, 40, 40),
        "cannot tell",
        "no message was asked of both",
    ),
    (
        *_tables("+" * 60 + "ggg" + "l" * 11 + "-" * 30),
        "pass",
        "3 gained and 11 lost: the exact test's p, two-sided, is 0.057",
    ),
    (*_tables("l" * 10 + "+" * 19), "cannot tell", "29 messages are too few"),
    (*_tables("l" * 10 + "+" * 20), "fail", "30 messages are enough, and 10 of them were lost"),
    (*_tables("l" + "+" * 30 + "gg" + "l" * 9), "fail", "2 gained and 10 lost: p = 0.039"),
    (
        *_apart(*_tables("l" + "+" * 30 + "gg" + "l" * 9), only_after=40, right=True),
        "fail",
        "2 gained and 10 lost of the messages that both were asked",
    ),
    (*_turned(*_tables("l" + "+" * 30 + "gg" + "l" * 8)), "pass", "2 gained and 9 lost: p = 0.065"),
    (*_tables("g" + "+" * 30 + "l" * 11 + "gg"), "pass", "3 gained and 11 lost: p = 0.057"),
    (*_tables("-" * 30 + "g" * 25 + "l" * 42), "fail", "25 gained and 42 lost: p = 0.0498"),
    (*_tables("+" * 30 + "g" * 10 + "l" * 22), "pass", "10 gained and 22 lost: p = 0.0501"),
    (*_tables("+" * 30 + "g" * 5 + "l" * 13), "pass", "5 gained and 13 lost: p = 0.096"),
    (*_tables("+" * 9 + "g" * 40 + "l" * 50), "pass", "40 gained and 50 lost: p = 0.34"),
    ({}, {}, "cannot tell", "there is no message at all"),
)


def _gate(
    fewest: int = _FEWEST,
    fails: Callable[[int, int], bool] = lambda gained, lost: lost > gained and _p(gained, lost) < 0.05,
    ids: Callable[[_Results, _Results], list[str]] = lambda before, after: [*(before.keys() & after)],
) -> Callable[[_Results, _Results], str]:
    """Return a gate; each part may be a mistaken one."""

    def gate(before: _Results, after: _Results) -> str:
        shared = ids(before, after)
        if len(shared) < fewest:
            return "cannot tell"
        pairs = [(before.get(name, False), after.get(name, False)) for name in shared]
        return "fail" if fails(pairs.count((False, True)), pairs.count((True, False))) else "pass"

    return gate


def _by_place(before: _Results, after: _Results) -> str:
    if len(set(before) & set(after)) < _FEWEST:
        return "cannot tell"
    pairs = list(zip(before.values(), after.values(), strict=False))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    return "fail" if lost > gained and _p(gained, lost) < 0.05 else "pass"


def _all_of_before(before: _Results, after: _Results) -> str:
    if len(before) < _FEWEST:
        return "cannot tell"
    pairs = [(before[name], after[name]) for name in before if name in after]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    return "fail" if lost > gained and _p(gained, lost) < 0.05 else "pass"


_GATE_MISTAKES: dict[str, Callable[[_Results, _Results], str]] = {
    "Any drop fails here: 4 gained and 6 lost is what chance gives, so that passes.": _gate(
        fails=lambda gained, lost: lost > gained
    ),
    "Yours always says 'cannot tell': a hundred messages asked of both models are enough to tell.": lambda b, a: (
        "cannot tell"
    ),
    "Yours never fails: 2 gained and 16 lost is more than chance gives.": _gate(fails=lambda gained, lost: False),
    "Pair by name and not by place: the two dictionaries may have another order.": _by_place,
    "It fails for having got better: look which of gained and lost is larger.": _gate(
        fails=lambda gained, lost: _p(gained, lost) < 0.05
    ),
    "Only 25 messages were asked of both models: with fewer than 30, say 'cannot tell'.": _gate(fewest=0),
    "30 messages are enough: fewer than 30 are too few.": _gate(fewest=_FEWEST + 1),
    "You count messages that only one model was asked: compare those that are in both dictionaries.": _gate(
        ids=lambda before, after: [*before, *(name for name in after if name not in before)]
    ),
    "You count 30 in one dictionary: what counts is how many messages are in both.": _all_of_before,
    "That is the p of one side: double the tail, or take mcnemar's p.": _gate(
        fails=lambda gained, lost: lost > gained and _p(gained, lost) / 2 < 0.05
    ),
    "A p just below 0.05 passes: that is the limit, not 0.01.": _gate(
        fails=lambda gained, lost: lost > gained and _p(gained, lost) < 0.01
    ),
    "That is no exact test: for few messages a chi-square is too sure.": _gate(
        fails=lambda gained, lost: lost > gained and (lost - gained) ** 2 > 3.8415 * (lost + gained)
    ),
}


def _judge_gate(answer: Any) -> str | None:
    values = []
    for before, after, _, _ in _GATES:
        copies = dict(before), dict(after)
        verdict = expect(call(answer, *copies), str, "what gate_of_mine returns")
        if verdict not in _ANSWERS:
            return f"gate_of_mine returns {verdict[:30]!r}: the answers are 'pass', 'fail' and 'cannot tell'."
        if copies != (before, after):
            return "Your function changed a dictionary that it was given: look at it only."
        values.append(verdict)

    def say(place: int) -> str:
        _, _, wanted, words = _GATES[place]
        return f"The gate says {values[place]!r} where it should say {wanted!r}: {words}."

    wanted = [case[2] for case in _GATES]
    return compared(values, wanted, [case[:2] for case in _GATES], _GATE_MISTAKES, say)


_DOG = Exercise(
    id="performance_analysis/dog",
    level="🐕",
    title="A gate of your own",
    goal="Build a gate that fails when a model got worse by more than chance explains.",
    minutes=20,
    judge=_judge_gate,
    hints=(
        "First the messages that both were asked: the names that are keys of both dictionaries. Fewer than 30?",
        "Then count gained (wrong before, right after) and lost (right before, wrong after).",
        "Were both models equally good, each changed message would be a coin toss. How often do `gained + lost` coins "
        "fall at least as unevenly? `smol_course.evaluation.comparisons.mcnemar` says it, or `math.comb` does.",
        "Fail only if lost is the larger one and that chance is below 0.05.",
    ),
    wrong=(
        *planted(_GATE_MISTAKES),
        ("a rate", lambda: _gate(fails=lambda gained, lost: lost > gained + 5), "where it should say 'pass'"),
        (
            "empties",
            lambda: lambda before, after: _gate()(before, after) + (before.clear() or ""),
            "changed a dictionary",
        ),
        ("true and false", lambda: lambda before, after: True, "but it is"),
        ("other words", lambda: lambda before, after: "ok", "the answers are 'pass'"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

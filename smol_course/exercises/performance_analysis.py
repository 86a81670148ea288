"""The exercises of the notebook performance_analysis: perplexity over pages, and a gate.

The judge of the 🐕 hands over lists of right and wrong: it cannot know whether the learner's own gate asks a model
the same questions twice.
"""

import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, call, expect

# --- 🐢 Perplexity ------------------------------------------------------------------------------------------

# Mean nats per token of each page, and how many tokens it has. In the first, no two mistakes give one number.
_PAGES = (([2.0, 3.0, 4.5], [400, 100, 20]), ([1.5], [64]), ([3.0, 3.0], [10, 1000]))


def _perplexity(losses: list[float], tokens: list[int]) -> float:
    return math.exp(_total(losses, tokens) / sum(tokens))


def _total(losses: list[float], tokens: list[int]) -> float:
    return sum(loss * count for loss, count in zip(losses, tokens, strict=True))


def _judge_perplexity(answer: Any) -> str | None:
    for losses, tokens in _PAGES:
        given = call(answer, list(losses), list(tokens))
        value = expect(given, (float, int), "what perplexity returns")
        if not math.isclose(value, _perplexity(losses, tokens), rel_tol=1e-4):
            return _perplexity_mistake(value, losses, tokens)
    return None


def _perplexity_mistake(value: float, losses: list[float], tokens: list[int]) -> str:
    """Name the mistake that leads to this number."""
    n, all_tokens, total = len(losses), sum(tokens), _total(losses, tokens)
    weighed = [math.exp(loss) * count for loss, count in zip(losses, tokens, strict=True)]
    known = {
        "Every page counts alike here: a page with more tokens weighs more.": math.exp(sum(losses) / n),
        "These are the pages' perplexities, averaged: average the nats first, and take exp once.": (
            sum(map(math.exp, losses)) / n
        ),
        "The perplexities are weighed by tokens: weigh the nats, and take exp at the end.": sum(weighed) / all_tokens,
        "This is the loss: perplexity is its exponential.": total / all_tokens,
        "These are all nats together: divide by the number of tokens, then take exp.": total,
        "Divided by the pages: divide by the tokens.": total / n,
        "The base is e, because the losses are nats: exp(loss), not 2 ** loss.": 2 ** (total / all_tokens),
        "The sign is turned: this is the mean probability of a token, not its inverse.": math.exp(-total / all_tokens),
    }
    for message, wrong in known.items():
        if math.isclose(value, wrong, rel_tol=1e-4):
            return message
    return f"For losses {losses} and tokens {tokens} it is {_perplexity(losses, tokens):.4f}, but yours is {value:.4g}."


def _of(read: Callable[[list[float], list[int]], Any]) -> Callable[[], Any]:
    return lambda: lambda losses, tokens: read(losses, tokens)


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
        ("pages alike", _of(lambda x, n: math.exp(sum(x) / len(x))), "Every page counts alike"),
        ("mean of perplexities", _of(lambda x, n: sum(map(math.exp, x)) / len(x)), "averaged: average the nats"),
        (
            "weighed perplexities",
            _of(lambda x, n: sum(math.exp(a) * b for a, b in zip(x, n, strict=True)) / sum(n)),
            "weighed by tokens",
        ),
        ("the loss", _of(lambda x, n: _total(x, n) / sum(n)), "This is the loss"),
        ("the sum", _of(_total), "all nats together"),
        ("per page", _of(lambda x, n: _total(x, n) / len(x)), "Divided by the pages"),
        ("base 2", _of(lambda x, n: 2 ** (_total(x, n) / sum(n))), "The base is e"),
        ("the sign", _of(lambda x, n: math.exp(-_total(x, n) / sum(n))), "The sign is turned"),
        ("a list", _of(lambda x, n: [math.exp(loss) for loss in x]), "but it is a list"),
        ("off by one", _of(lambda x, n: _perplexity(x, n) + 1), "but yours is"),
    ),
)

# --- 🐕 A gate ----------------------------------------------------------------------------------------------

_FEWEST = 30
_ANSWERS = ("pass", "fail", "cannot tell")


def _p(gained: int, lost: int) -> float:
    n, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


def _tables(both: int, gained: int, lost: int, none: int, first: int = 0) -> tuple[dict[str, bool], dict[str, bool]]:
    """Results before and after, by message; ``first`` is the number of the first message."""
    kinds = [(True, True)] * both + [(False, True)] * gained + [(True, False)] * lost + [(False, False)] * none
    names = [f"test-{first + number:04d}" for number in range(len(kinds))]
    before, after = ({name: pair[side] for name, pair in zip(names, kinds, strict=True)} for side in (0, 1))
    return before, after


def _case(number: int) -> tuple[dict[str, bool], dict[str, bool], str, str]:
    """Before, after, what the gate should say, and the case in words."""
    if number == 0:
        return *_tables(60, 4, 6, 30), "pass", "4 gained and 6 lost is what chance gives"
    if number == 1:
        before, after = _tables(60, 2, 16, 22)
        # In another order: whoever pairs by place and not by name compares messages with each other.
        return before, dict(reversed(after.items())), "fail", "2 gained and 16 lost"
    if number == 2:
        return *_tables(50, 20, 3, 27), "pass", "20 gained and 3 lost: it got better"
    if number == 3:
        return *_tables(12, 0, 8, 5), "cannot tell", "25 messages are too few"
    if number == 4:
        before, after = _tables(40, 3, 3, 14)
        before |= {f"old-{k}": True for k in range(40)}
        after |= {f"new-{k}": False for k in range(40)}
        return before, after, "pass", "3 gained and 3 lost of the messages that both were asked"
    if number == 5:
        before, after = _tables(15, 1, 1, 8)
        after = {f"other-{name}": right for name, right in after.items()}
        return before | {f"old-{k}": True for k in range(40)}, after, "cannot tell", "no message was asked of both"
    return *_tables(60, 3, 11, 30), "pass", "3 gained and 11 lost: p = 0.057, two-sided, is not below 0.05"


def _judge_gate(answer: Any) -> str | None:
    for number in range(7):
        before, after, wanted, words = _case(number)
        given = call(answer, dict(before), dict(after))
        said = expect(given, str, "what gate_of_mine returns")
        if said not in _ANSWERS:
            return f"gate_of_mine returns {said[:30]!r}: the answers are 'pass', 'fail' and 'cannot tell'."
        if said != wanted:
            return _gate_mistake(number, said, words)
    return None


def _gate_mistake(number: int, said: str, words: str) -> str:
    """Name the mistake that shows in this case."""
    if number == 0 and said == "fail":
        return "Any drop fails here: 4 gained and 6 lost is what chance gives, so that passes."
    if number == 0:
        return "A hundred messages that both were asked are enough: there is something to tell."
    if number == 1:
        return "2 gained and 16 lost passes here. Do you pair by name? The two dictionaries have another order."
    if number == 2:
        return "It fails for having got better: look which of gained and lost is larger."
    if number == 3:
        return f"With 25 messages nothing can be told: fewer than {_FEWEST} that both were asked are too few."
    if number == 4:
        return "Messages that only one of them was asked are counted: compare those that both were asked."
    if number == 5:
        return "No message was asked of both, so nothing can be told: count those, not all that one was asked."
    return f"In this case the gate says {said!r}, but {words}: take the exact test and double the tail."


def _gate(
    fewest: int = _FEWEST,
    fails: Callable[[int, int], bool] = lambda gained, lost: lost > gained and _p(gained, lost) < 0.05,
    ids: Callable[[dict[str, bool], dict[str, bool]], list[str]] = lambda before, after: [*(before.keys() & after)],
) -> Callable[[], Any]:
    """Return a function that makes a gate; each part may be a mistaken one."""

    def gate(before: dict[str, bool], after: dict[str, bool]) -> str:
        shared = ids(before, after)
        if len(shared) < fewest:
            return "cannot tell"
        pairs = [(before.get(name, False), after.get(name, False)) for name in shared]
        return "fail" if fails(pairs.count((False, True)), pairs.count((True, False))) else "pass"

    return lambda: gate


def _by_place(before: dict[str, bool], after: dict[str, bool]) -> str:
    if len(set(before) & set(after)) < _FEWEST:
        return "cannot tell"
    pairs = list(zip(before.values(), after.values(), strict=False))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    return "fail" if lost > gained and _p(gained, lost) < 0.05 else "pass"


def _all_of_before(before: dict[str, bool], after: dict[str, bool]) -> str:
    if len(before) < _FEWEST:
        return "cannot tell"
    pairs = [(before[name], after[name]) for name in before if name in after]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    return "fail" if lost > gained and _p(gained, lost) < 0.05 else "pass"


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
        "fall at least as unevenly? `smol_course.metrics.mcnemar` computes it, or `math.comb` does.",
        "Fail only if lost is the larger one and that chance is below 0.05.",
    ),
    wrong=(
        ("any drop", _gate(fails=lambda gained, lost: lost > gained), "Any drop fails here"),
        ("always cannot tell", lambda: lambda before, after: "cannot tell", "A hundred messages"),
        ("by place", lambda: _by_place, "Do you pair by name"),
        ("better fails", _gate(fails=lambda gained, lost: _p(gained, lost) < 0.05), "having got better"),
        ("no minimum", _gate(fewest=0), "With 25 messages nothing can be told"),
        (
            "all messages",
            _gate(ids=lambda before, after: [*before, *(k for k in after if k not in before)]),
            "Messages that only one of them was asked",
        ),
        ("counts before's", lambda: _all_of_before, "No message was asked of both"),
        (
            "one side",
            _gate(fails=lambda gained, lost: lost > gained and _p(gained, lost) / 2 < 0.05),
            "double the tail",
        ),
        ("true and false", lambda: lambda before, after: True, "but it is"),
        ("other words", lambda: lambda before, after: "ok", "the answers are 'pass'"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

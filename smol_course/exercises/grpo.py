"""The exercises of the notebook grpo: advantages of a group, a reward that no trick fools, a fair comparison.

The 🐕 is judged by planted cheats: a reward that passes may still have holes that nobody thought of. The 🦁 is
judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

from smol_course.exercises import (
    Exercise,
    Mistake,
    at_least,
    at_most,
    call,
    complete,
    expect,
    number,
    shares,
    untested,
    variants,
)

# --- 🐢 Advantages of a group -------------------------------------------------------------------------------

_GROUPS = (
    [1.0, 0.2, 0.2, 0.6],
    [0.84, 0.52, 1.0, 0.0, 0.84, 0.68, 0.2, 0.84],
    [-1, 1, 0, -1],  # below zero, too
    [0.2, 0.2, 0.2, 0.2],
    [0.1, 0.1, 0.1],  # their mean is not exactly 0.1
)


def _judge_advantages(answer: Any) -> str | None:
    for rewards in _GROUPS:
        copied = list(rewards)
        advantages = expect(call(answer, copied), list, "what advantages returns")
        for value in advantages:
            expect(value, (float, int), "each advantage")
        if len(advantages) != len(rewards):
            return f"There should be one advantage for each reward: {len(rewards)} rewards gave {len(advantages)}."
        if copied != rewards or advantages is copied:
            return "The rewards are changed in place or handed back: make a new list."
        spread = max(rewards) - min(rewards)
        wanted = _advantages(rewards) if spread else [0.0] * len(rewards)
        if not _close(advantages, wanted):
            return _advantage_mistake(advantages, rewards) if spread else _flat_mistake(advantages)
    return None


def _advantages(rewards: list[float]) -> list[float]:
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    return [(reward - mean) / spread for reward in rewards]


def _close(found: list[Any], wanted: list[float]) -> bool:
    return all(_same(value, right) for value, right in zip(found, wanted, strict=True))


def _same(value: float, right: float) -> bool:
    return math.isclose(value, right, rel_tol=1e-3, abs_tol=1e-3)


def _flat_mistake(found: list[float]) -> str:
    if any(not math.isfinite(value) for value in found):
        return "A group without spread gives nan or infinity: nothing can be divided by its spread, so give zeros."
    return (
        "A group of equal rewards should give zeros only. Is a mean that is off in the last digit divided by a tiny "
        "spread? Compare the largest reward with the smallest."
    )


def _advantage_mistake(found: list[float], rewards: list[float]) -> str:
    mean = statistics.fmean(rewards)
    whole, sample = statistics.pstdev(rewards), statistics.stdev(rewards)
    known = {
        "The mean is taken off, but nothing is divided by the standard deviation.": [r - mean for r in rewards],
        "The standard deviation is that of a whole population (divided by n): take the sample's, n - 1.": [
            (r - mean) / whole for r in rewards
        ],
        "It is divided by the variance: take its square root first.": [(r - mean) / sample**2 for r in rewards],
        "The mean is not taken off: without it, every answer looks good.": [r / sample for r in rewards],
        "The sign is wrong: what is better than its group has a positive advantage.": [
            (mean - r) / sample for r in rewards
        ],
        "It is divided by the mean: divide by the standard deviation.": [(r - mean) / mean for r in rewards],
        "The rewards are squeezed into 0 to 1: take off the mean, divide by the standard deviation.": [
            (r - min(rewards)) / (max(rewards) - min(rewards)) for r in rewards
        ],
        "The median is taken off: take the mean.": [(r - statistics.median(rewards)) / sample for r in rewards],
        "These are zeros though the rewards differ: only a group without spread gives zeros.": [0.0] * len(rewards),
    }
    for message, values in known.items():
        if _close(found, values):
            return message
    wanted = _advantages(rewards)
    i = next(i for i, (value, right) in enumerate(zip(found, wanted, strict=True)) if not _same(value, right))
    description = f"the advantage of {rewards[i]} (number {i + 1})"
    return f"For the rewards {rewards} {description} should be {wanted[i]:.3f}, but yours is {found[i]:.3f}."


def _per_group(formula: Callable[[float, float, float], float]) -> Callable[[], Any]:
    """Return a function that makes a wrong answer: (reward, mean, sample's standard deviation) to a number."""

    def advantages(rewards: list[float]) -> list[float]:
        mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
        return [formula(reward, mean, spread) for reward in rewards]

    return lambda: advantages


def _population(rewards: list[float]) -> list[float]:
    mean, spread = statistics.fmean(rewards), statistics.pstdev(rewards)
    return [(reward - mean) / spread for reward in rewards]


def _in_place(rewards: list[float]) -> list[float]:
    rewards[:] = _advantages(rewards)
    return rewards


def _nan_where_flat(rewards: list[float]) -> list[float]:
    if max(rewards) == min(rewards):
        return [math.nan] * len(rewards)
    return _advantages(rewards)


def _rounding(rewards: list[float]) -> list[float]:
    """No zeros for 0.1, 0.1, 0.1: as if the mean's rounding error were blown up."""
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards) if rewards[0] > 0.1 else [-0.8] * len(rewards)
    return _advantages(rewards)


_TURTLE = Exercise(
    id="grpo/turtle",
    level="🐢",
    title="Advantages of a group",
    goal="Compute the advantages that the trainer used for one group.",
    minutes=5,
    judge=_judge_advantages,
    hints=(
        "Look at the function `by_hand` in the notebook: which two numbers does it need of the whole group?",
        "`statistics.fmean(rewards)` is the mean, `statistics.stdev(rewards)` the sample's standard deviation.",
        "First ask whether all rewards are equal: then there is nothing to compare. Give a list of zeros.",
        "`max(rewards) == min(rewards)` asks it. Otherwise one line: (reward - mean) / spread, for each reward.",
    ),
    wrong=(
        ("no division", _per_group(lambda r, mean, spread: r - mean), "nothing is divided by"),
        ("population", lambda: _population, "a whole population"),
        ("variance", _per_group(lambda r, mean, spread: (r - mean) / spread**2), "by the variance"),
        ("no mean", _per_group(lambda r, mean, spread: r / spread), "The mean is not taken off"),
        ("sign", _per_group(lambda r, mean, spread: (mean - r) / spread), "The sign is wrong"),
        ("by the mean", _per_group(lambda r, mean, spread: (r - mean) / mean), "divided by the mean"),
        ("zeros always", lambda: lambda rewards: [0.0] * len(rewards), "though the rewards differ"),
        ("one for all", lambda: lambda rewards: [0.0], "one advantage for each reward"),
        ("changes its input", lambda: _in_place, "changed in place"),
        ("nan", lambda: _nan_where_flat, "gives nan or infinity"),
        ("rounding", lambda: _rounding, "off in the last digit"),
        (
            "divides by zero",
            _per_group(lambda r, mean, spread: (r - mean) / spread),
            "ZeroDivisionError",
        ),
        (
            "zero to one",
            lambda: lambda rewards: [(r - min(rewards)) / (max(rewards) - min(rewards)) for r in rewards],
            "squeezed into 0 to 1",
        ),
    ),
)


# --- 🐕 A reward that cannot be cheated ---------------------------------------------------------------------


def _event(**changed: Any) -> str:
    """An event's JSON: lunch on Friday at 12:30 with Ana, no place, with these fields changed."""
    event = {"title": "lunch", "day": "friday", "start": "12:30", "place": None, "people": ["Ana"]}
    return json.dumps(event | changed)


_RIGHT = _event()
_PLACED = _event(place="Luna", people=["Ana", "Tom"])
_EMPTY = json.dumps({"title": None, "day": None, "start": None, "place": None, "people": []})
_NAMES = ["Ana", "Ben", "Carl", "Dora", "Eve", "Finn", "Gus", "Hal", "Ida", "Joe"]
_LITTLE = 0.2

# (what, answer, event, least, most, message)
_BOUNDS: tuple[tuple[str, str, float, float, str], ...] = (
    (_RIGHT, _RIGHT, 1, 1, "The right answer should get exactly 1, but it gets {}."),
    (_PLACED, _PLACED, 1, 1, "The right answer with a place and two people should get exactly 1, but it gets {}."),
    ("null", "null", 1, 1, "Where the message holds no event, `null` is the right answer and gets 1, not {}."),
    ("Sure! I noted it.", _RIGHT, 0, 0, "An answer without JSON gets {}: what cannot be read gets 0."),
    (_RIGHT[:40], _RIGHT, 0, 0, "Broken JSON, cut off half way, gets {}: what cannot be read gets 0."),
    (
        "Nothing to note.",
        "null",
        0,
        0,
        "Where `null` was right, an answer that cannot be read gets {}: that must be 0 too.",
    ),
    ("{}", _RIGHT, 0, _LITTLE, "`{}` says nothing and gets {}: at most 0.2, or silence pays."),
    (_EMPTY, _RIGHT, 0, _LITTLE, "An event of nulls only says nothing and gets {}: at most 0.2."),
    ("null", _RIGHT, 0, _LITTLE, "`null` for a message that holds an event gets {}: at most 0.2."),
    (_RIGHT, "null", 0, _LITTLE, "An event for a message that holds none gets {}: at most 0.2."),
    ("{}", "null", 0, _LITTLE, "`{}` where `null` was right gets {}: that is an event without facts, at most 0.2."),
)
# (better, worse, event, message)
_ORDERED: tuple[tuple[str, str, str, str], ...] = (
    (
        _event(day="monday"),
        _event(day="monday", start="02:30"),
        _RIGHT,
        "Three right fields get {}, two right ones {}: one more right field must give more.",
    ),
    (
        _event(start="02:30"),
        _event(start="02:30", day="monday", title="car"),
        _RIGHT,
        "A wrong start gets {}, and three wrong fields {}: each right field must count.",
    ),
    (
        _RIGHT,
        _event(place="Luna"),
        _RIGHT,
        "An invented place costs nothing ({} without it, {} with it): make it cost something.",
    ),
    (
        _event(start="02:30"),
        _event(start="02:30", place="Luna"),
        _RIGHT,
        "In a partly wrong event an invented place costs nothing ({} without it, {} with it).",
    ),
    (
        _event(people=["Ana"]),
        _event(people=_NAMES),
        _event(people=["Ana"]),
        "Ten names, one of them right, get no less ({} for one name, {} for ten): wrong names must cost.",
    ),
    (
        _event(people=["Ana"], place="Luna"),
        _event(people=[*_NAMES, "Tom"], place="Luna"),
        _PLACED,
        "One right name of two gets {}, and a list of all names that there are {}: guessing must not pay.",
    ),
    (
        _RIGHT,
        _RIGHT + " " + _event(day="monday"),
        _RIGHT,
        "A second object after the right one costs nothing ({} without it, {} with it).",
    ),
    (
        _RIGHT,
        _RIGHT + "\nI hope that helps! Have a wonderful lunch.",
        _RIGHT,
        "Chatter after the right answer costs nothing ({} without it, {} with it).",
    ),
    (
        _event(day="monday"),
        _event(day="monday") + "\nI hope that helps! Have a wonderful lunch.",
        _RIGHT,
        "Chatter after an event with one wrong field costs nothing ({} without it, {} with it).",
    ),
    (
        _event(day="monday"),
        _event(day="monday") + " " + _RIGHT,
        _RIGHT,
        "A second guess after an event with one wrong field costs nothing ({} without it, {} with it).",
    ),
    (
        "null",
        "null, or perhaps lunch on Friday",
        "null",
        "`null` gets {}, and `null` with something behind it {}: saying both must not pay.",
    ),
)


def _judge_reward(answer: Any) -> str | None:
    for reply, event, least, most, message in _BOUNDS:
        value = _grade(answer, reply, event)
        if not (at_least(value, least) and at_most(value, most)):
            return message.replace("gets {}", f"gets {value:.2f}").replace("not {}", f"not {value:.2f}")
    for better, worse, event, message in _ORDERED:
        high, low = _grade(answer, better, event), _grade(answer, worse, event)
        if at_most(high, low):
            first, second, third = message.split("{}")
            return f"{first}{high:.2f}{second}{low:.2f}{third}"
    return None


def _grade(answer: Any, said: str, event: str) -> float:
    """The learner's grade, asked for twice. Raises Mistake."""
    first, again = (number(call(answer, said, event), "what honest_reward returns") for _ in range(2))
    if not (at_least(first, 0) and at_most(first, 1)):
        raise Mistake(f"A reward of {first:.4g} lies outside 0 to 1.")
    if first != again:
        raise Mistake(f"The same answer gets {first:.2f} and then {again:.2f}: a reward must not depend on chance.")
    return first


# What follows makes the planted mistakes. It reads and scores events on its own: exercises know no metrics.

_EMPTY_EVENT = {"title": None, "day": None, "start": None, "place": None, "people": []}


def _read(text: str) -> dict[str, Any] | None:
    """The first object of an answer, or None for null. Raises ValueError if there is neither."""
    if text.strip().startswith("null"):
        return None
    return _EMPTY_EVENT | json.JSONDecoder().raw_decode(text[text.index("{") :])[0]


def _facts(event: dict[str, Any] | None) -> set[tuple[str, str]]:
    event = event or _EMPTY_EVENT
    facts = {(field, event[field]) for field in list(_EMPTY_EVENT)[:-1] if event[field]}
    return facts | {("people", name) for name in event["people"]}


def _f1(given: dict[str, Any] | None, truth: dict[str, Any] | None) -> float:
    """Share of facts that agree, nulls left out, as `field_f1` counts it."""
    mine, wanted = _facts(given), _facts(truth)
    return 2 * len(mine & wanted) / (len(mine) + len(wanted)) if mine or wanted else 1.0


def _field_f1_alone(text: str, event: str) -> float:
    try:
        parsed = _read(text)
    except ValueError:
        parsed = None
    return _f1(parsed, json.loads(event))


def _tidy(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _flawed(
    tidy: bool = True,
    unreadable: float = 0.0,
    silence: bool = True,
    no_event: bool = True,
    grade: Callable[[dict[str, Any], dict[str, Any]], float] = _f1,
) -> Callable[[], Any]:
    """Return a function that makes a reward like the reference, with one of its parts left out or changed."""

    def reward(text: str, event: str) -> float:
        truth = json.loads(event)
        try:
            parsed = _read(text)
        except ValueError:
            return unreadable
        if parsed is None or truth is None:
            value = float(parsed is truth or not no_event)
        else:
            value = max(grade(parsed, truth), 0.0 if silence else 0.5)
        return value if _tidy(text) or not tidy else 0.8 * value

    return lambda: reward


def _right(given: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    return [field for field in truth if given[field] == truth[field]]


def _share(given: dict[str, Any], truth: dict[str, Any]) -> float:
    """The notebook's first version: what is rightly empty earns as much as what is rightly filled."""
    return 0.2 + 0.8 * len(_right(given, truth)) / len(truth)


def _recall(given: dict[str, Any], truth: dict[str, Any]) -> float:
    """What is said rightly, of what should be said; what is invented costs nothing."""
    return len(_facts(given) & _facts(truth)) / len(_facts(truth))


def _soft_people(given: dict[str, Any], truth: dict[str, Any]) -> float:
    """The share of right fields, silence refused, and any right name counted as all."""
    if not _facts(given):
        return 0.0
    hit = set(given["people"]) & set(truth["people"])
    return len({*_right(given, truth), *(["people"] if hit else [])}) / len(truth)


def _all_or_nothing(given: dict[str, Any], truth: dict[str, Any]) -> float:
    return float(given == truth)


def _only_valid(text: str, event: str) -> float:
    try:
        _read(text)
    except ValueError:
        return 0.0
    return 1.0


def _throws_dice() -> Any:
    import random

    return lambda text, event: random.random()


_DOG = Exercise(
    id="grpo/dog",
    level="🐕",
    title="A reward that cannot be cheated",
    goal="Grade events so that no trick pays.",
    minutes=20,
    judge=_judge_reward,
    hints=(
        "Sort the cases first: not readable; no event on one side or both; two events. Only the last needs a formula.",
        "`parse_event` raises ValueError for what cannot be read, and gives None for `null`. Compare with "
        "`json.loads(event)`, which is None as well where the message holds no event.",
        "For two events, `field_f1([answer], [event])` leaves nulls out: silence earns nothing, and what is invented "
        "costs precision. Mind that it takes an unreadable answer to `null` for right, so settle those before.",
        "`parse_event` reads the first object and ignores the rest. `json.loads(answer)` raises ValueError if "
        "anything follows: then take something off.",
    ),
    wrong=(
        ("only asks for JSON", lambda: _only_valid, "`{}` says nothing"),
        ("the notebook's first reward", _flawed(grade=_share), "`{}` says nothing and gets 0.36"),
        ("recall", _flawed(grade=_recall), "An invented place costs nothing"),
        ("all names", _flawed(grade=_soft_people), "Ten names, one of them right"),
        ("all or nothing", _flawed(grade=_all_or_nothing), "one more right field must give more"),
        ("field_f1 alone", lambda: _field_f1_alone, "that must be 0 too"),
        ("second object", _flawed(tidy=False), "A second object after the right one"),
        ("unreadable gets something", _flawed(unreadable=0.1), "An answer without JSON gets 0.10"),
        ("silence pays", _flawed(silence=False), "silence pays"),
        ("null is always fine", _flawed(no_event=False), "`null` for a message that holds an event"),
        ("dice", _throws_dice, "must not depend on chance"),
        ("percent", lambda: lambda a, e: 100 * _field_f1_alone(a, e), "outside 0 to 1"),
        ("a text", lambda: lambda a, e: "good", "should be a number, but it is a text"),
    ),
)


# --- 🦁 More from the same answers --------------------------------------------------------------------------

_SEEDS, _MESSAGES = 3, 96
_WHAT = {
    "baseline_reward": list,
    "my_reward": list,
    "dice_reward": list,
    "my_field_f1_before": list,
    "my_field_f1_after": list,
    "test_messages": int,
    "baseline_completions": int,
    "my_completions": int,
    "train_ids": list,
}


def _judge_results(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name, kind in _WHAT.items():
        if kind is list and name != "train_ids":
            shares(results, name, _SEEDS)
    if results["test_messages"] < _MESSAGES:
        return f"{results['test_messages']} test messages decide too little: measure on at least {_MESSAGES}."
    for name in ("baseline_completions", "my_completions"):
        if results[name] < 1:
            return f"{name} should be the number of answers sampled in one run, but it is {results[name]}."
    if results["my_completions"] > results["baseline_completions"]:
        more = results["my_completions"] - results["baseline_completions"]
        return f"Your runs sample {more} answers more than the notebook's: the budget is the same for both."
    untested(results["train_ids"])
    worst = min(results["my_reward"])
    if at_most(worst, max(results["dice_reward"])):
        return (
            f"Your worst run ({worst:.3f}) is not above your best run with dice "
            f"({max(results['dice_reward']):.3f}): then it is not the reward that helps."
        )
    if at_most(worst, max(results["baseline_reward"])):
        return (
            f"Your worst run ({worst:.3f}) is not above the notebook's best ({max(results['baseline_reward']):.3f}): "
            "the difference may be luck. Every run of yours must lie above every run of the notebook."
        )
    before, after = (statistics.fmean(results[f"my_field_f1_{when}"]) for when in ("before", "after"))
    if not at_least(after, before):
        return f"The greedy answers got worse: a mean field F1 of {before:.3f} before and {after:.3f} after training."
    return None


_form = variants(
    {
        "baseline_reward": [0.6, 0.62, 0.61],
        "my_reward": [0.7, 0.68, 0.71],
        "dice_reward": [0.5, 0.52, 0.51],
        "my_field_f1_before": [0.5, 0.52, 0.51],
        "my_field_f1_after": [0.6, 0.51, 0.55],
        "test_messages": 96,
        "baseline_completions": 400,
        "my_completions": 400,
        "train_ids": ["train-0001", "mine-1"],
    }
)


_LION = Exercise(
    id="grpo/lion",
    level="🦁",
    title="More from the same answers",
    goal="Reach a higher mean reward than this notebook's from no more sampled answers, with greedy answers no worse.",
    minutes=60,
    judge=_judge_results,
    hints=(
        "First repeat the notebook as it stands with three seeds. How far apart are those runs? Your idea has to be "
        "worth more than that.",
        "Groups without spread are paid for and teach nothing. Which messages make them, and can you tell before you "
        "sample a whole group?",
        "Which field is wrong most often after training? A reward can weigh fields, and one without the holes of the "
        "notebook's teaches less nonsense.",
        "Choose on the dev messages, and look at the test messages once, at the end. Fewer, larger steps or more, "
        "smaller ones: the budget is the number of answers, not of steps.",
    ),
    wrong=(
        ("two seeds", _form(my_reward=[0.7, 0.71]), "my_reward has 2 of at least 3 seeds"),
        ("no control", _form(dice_reward=[0.5]), "dice_reward has 1 of at least 3 seeds"),
        ("few test messages", _form(test_messages=48), "48 test messages decide too little"),
        ("more answers", _form(my_completions=500), "100 answers more than the notebook's"),
        ("trained on a test message", _form(train_ids=["test-0007"]), "a test split (test-0007)"),
        ("percent", _form(my_reward=[70, 68, 71]), "looks like percent"),
        ("dice do as well", _form(dice_reward=[0.5, 0.69, 0.5]), "not above your best run with dice"),
        ("one run not above", _form(my_reward=[0.7, 0.61, 0.7]), "not above the notebook's best"),
        ("greedy answers worse", _form(my_field_f1_after=[0.4, 0.5, 0.4]), "The greedy answers got worse"),
        ("a part is missing", lambda: {"my_reward": [0.7] * 3}, "has no 'baseline_reward'"),
        ("negative completions", _form(my_completions=-1), "my_completions should be the number"),
        ("a mean for a list", _form(my_reward=0.7), "my_reward should be a list"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)

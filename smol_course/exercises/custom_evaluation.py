"""The exercises of the notebook custom_evaluation: gained and lost, a paired interval, a register of one's own.

The 🦁 is judged by the learner's own lists: this module cannot know whether the labels are right, whether the second
ones were written without looking at the first, or whether the models were asked.
"""

import json
import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, Mistake, NotYet, at_most, call, complete, expect, number, variants

if TYPE_CHECKING:
    from numpy import ndarray

# --- 🐢 Gained and lost -------------------------------------------------------------------------------------

# Before and after; in the first, no two ways of counting give the same.
_LISTS = (
    ([True] * 4 + [False] * 5, [True, True, False, True, True, True, True, False, False]),
    ([True, False], [True, False]),
    ([False, False, True], [False, True, True]),
)


def _pairs(before: list[bool], after: list[bool]) -> list[tuple[bool, bool]]:
    return list(zip(before, after, strict=True))


def _changes(before: list[bool], after: list[bool]) -> tuple[int, int]:
    pairs = _pairs(before, after)
    return pairs.count((False, True)), pairs.count((True, False))


def _judge_changes(answer: Any) -> str | None:
    for before, after in _LISTS:
        value = expect(call(answer, list(before), list(after)), (tuple, list), "what gained_and_lost returns")
        if len(value) != 2:
            return f"Two numbers are asked for, gained and lost, but yours holds {len(value)}."
        changes = tuple(expect(count, int, "each of the two numbers") for count in value)
        if changes != _changes(before, after):
            return _changes_mistake(changes, before, after)
    return None


def _changes_mistake(given: tuple[int, int], before: list[bool], after: list[bool]) -> str:
    """Name the mistake that leads to these two numbers."""
    gained, lost = _changes(before, after)
    pairs = _pairs(before, after)
    known = {
        (lost, gained): "Gained and lost are exchanged: gained is what only the second model got right.",
        (sum(after), sum(before)): "These are the right answers of each model: count those that changed.",
        (sum(before), sum(after)): "These are the right answers of each model, before and after: count changes.",
        (max(0, gained - lost), max(0, lost - gained)): "This is the net change: gains and losses are counted apart.",
        (
            pairs.count((True, True)),
            pairs.count((False, False)),
        ): "These are the messages that did not change: count those on which the models differ.",
        (
            sum(after),
            len(after) - sum(after),
        ): "These are the second model's right and wrong answers: count where the two models differ.",
    }
    return known.get(given, f"Of {len(before)} messages {gained} are gained and {lost} lost; yours: {given}.")


def _count(read: Callable[[list[bool], list[bool]], Any]) -> Callable[[], Any]:
    return lambda: lambda before, after: read(before, after)


def _net(before: list[bool], after: list[bool]) -> tuple[int, int]:
    net = sum(after) - sum(before)
    return max(0, net), max(0, -net)


_TURTLE = Exercise(
    id="custom_evaluation/turtle",
    level="🐢",
    title="Gained and lost",
    goal="Count what a paired comparison rests on.",
    minutes=5,
    judge=_judge_changes,
    hints=(
        "Most messages are right for both models, or wrong for both. They say nothing about which one is better.",
        "Go through both lists at once: `zip(before, after)`.",
        "Gained: wrong before, right after. Lost: right before, wrong after.",
    ),
    wrong=(
        ("exchanged", _count(lambda before, after: _changes(after, before)), "are exchanged"),
        ("right answers", _count(lambda before, after: (sum(before), sum(after))), "before and after: count changes"),
        ("right answers, turned", _count(lambda before, after: (sum(after), sum(before))), "of each model: count"),
        ("net", _count(_net), "the net change"),
        (
            "what stayed",
            _count(lambda b, a: (_pairs(b, a).count((True, True)), _pairs(b, a).count((False, False)))),
            "did not change",
        ),
        ("the second model", _count(lambda b, a: (sum(a), len(a) - sum(a))), "the second model's"),
        ("one number", _count(lambda before, after: sum(after) - sum(before)), "but it is a whole number"),
        ("three numbers", _count(lambda before, after: (*_changes(before, after), 0)), "but yours holds 3"),
        ("one too many", _count(lambda b, a: (_changes(b, a)[0] + 1, _changes(b, a)[1])), "are gained and 1 lost"),
    ),
)

# --- 🐕 A paired interval -----------------------------------------------------------------------------------

# How many messages are right for both, gained, lost, wrong for both.
_TABLES = ((150, 30, 10, 110), (40, 2, 12, 26))
_DRAWS = 2000
# Few messages, as 1 (gained), 0 and -1 (lost), whose interval chance does not move, and what to look at: in the first,
# the last message counts much, in the second the first does. So every message must be drawn as often as any other. In
# the next two, 97 % of the draws lie below 5/9, so that an interval of 95 % reaches to it and one of 94 % does not; in
# the last two, 98.2 % do not lie above 4/6, so that one of 97 % goes beyond it.
_EACH = "Can every message, also the first and the last, be drawn, and as often as any other?"
_QUANTILES = "Are 2.5 % of all draws cut off at each end?"
_FEW = (
    ([0, 0, 0, 0, 0, 1], _DRAWS, (0.0, 0.5), _EACH),
    ([1, 1, 0, 0, 0], _DRAWS, (0.0, 0.8), _EACH),
    ([1, 1, 0, 0, 0, 0, 0, 0, 0], 10 * _DRAWS, (0.0, 5 / 9), _QUANTILES),
    ([-1, -1, 0, 0, 0, 0, 0, 0, 0], 10 * _DRAWS, (-5 / 9, 0.0), _QUANTILES),
    ([1, 1, 0, 0, 0, 0], 10 * _DRAWS, (0.0, 4 / 6), _QUANTILES),
    ([-1, -1, 0, 0, 0, 0], 10 * _DRAWS, (-4 / 6, 0.0), _QUANTILES),
)


def _right_and_wrong(table: tuple[int, int, int, int]) -> tuple[list[bool], list[bool]]:
    both, gained, lost, none = table
    before = [True] * both + [False] * gained + [True] * lost + [False] * none
    after = [True] * both + [True] * gained + [False] * lost + [False] * none
    return before, after


@cache
def _ways(number: int) -> dict[str, tuple[float, float]]:
    """The interval that each way of computing it gives for a case; the right one under "". From many draws."""
    import numpy

    before, after = (numpy.array(side, dtype=float) for side in _right_and_wrong(_TABLES[number]))
    rng, n, draws = numpy.random.default_rng(1), len(before), 8000

    def means(values: "ndarray", size: int = n) -> "ndarray":
        return values[rng.integers(0, len(values), (draws, size))].mean(axis=1)

    def ends(values: "ndarray", outside: float = 0.025) -> tuple[float, float]:
        return tuple(float(end) for end in numpy.quantile(values, [outside, 1 - outside]))

    paired = means(after - before)
    low, high = ends(paired)
    middle, spread = float(paired.mean()), float(paired.std())
    return {
        "": (low, high),
        "Each model's messages are drawn apart: draw a message once and take both models' results on it.": ends(
            means(after) - means(before)
        ),
        "The difference is turned: after minus before is asked for.": (-high, -low),
        "This leaves out 5 % at each end, so it is a 90 % interval: 2.5 % belong to each.": ends(paired, 0.05),
        "This is the range of all draws: cut 2.5 % off at each end.": (float(paired.min()), float(paired.max())),
        "This is one standard deviation to each side: take the quantiles 0.025 and 0.975.": (
            middle - spread,
            middle + spread,
        ),
        "This is the interval of after alone: the difference is asked for.": ends(means(after)),
        "This is the interval of before alone: the difference is asked for.": ends(means(before)),
        "These are sums: give the interval of the mean.": (low * n, high * n),
        "The draws are smaller than the list: draw as many messages as there are.": ends(means(after - before, n // 9)),
        "The low end comes first, then the high one.": (high, low),
        "This is in percent: give shares, 0.05 for 5 %.": (100 * low, 100 * high),
    }


def _judge_interval(answer: Any) -> str | None:
    import numpy

    for place, table in enumerate(_TABLES):
        before, after = _right_and_wrong(table)
        value = call(answer, list(before), list(after), _DRAWS, numpy.random.default_rng(place))
        low, high = _two_numbers(value)
        ways = _ways(place)
        if _near((low, high), ways[""]):
            continue
        if low == high and math.isclose(low, (sum(after) - sum(before)) / len(before), abs_tol=1e-9):
            return "Both ends are the same: draw with replacement, or every draw holds the same messages."
        for message, wrong in ways.items():
            if message and _near((low, high), wrong):
                return message
        wanted, yours = (f"{lower:.3f} to {upper:.3f}" for lower, upper in (ways[""], (low, high)))
        case = f"With {len(before)} messages, {table[1]} gained and {table[2]} lost,"
        return f"{case} it is about {wanted}; yours: {yours}."
    for changes, draws, right, look in _FEW:
        before, after = [change < 1 for change in changes], [change > -1 for change in changes]
        low, high = _two_numbers(call(answer, before, after, draws, numpy.random.default_rng(0)))
        if not _near((low, high), right):
            return (
                f"With {changes} as after minus before, the interval is {right[0]:.3g} to {right[1]:.3g}; yours is "
                f"{low:.3g} to {high:.3g}. {look}"
            )
    return None


def _two_numbers(value: Any) -> tuple[float, float]:
    """The ends of the learner's interval. Raises Mistake."""
    value = expect(value, (tuple, list), "what paired_interval returns")
    if len(value) != 2:
        raise Mistake(f"An interval has two ends, but yours holds {len(value)}.")
    low, high = (number(end, "an end of the interval") for end in value)
    return low, high


def _near(given: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals are the same but for the chance of a few thousand draws."""
    width = abs(other[1] - other[0])
    return all(abs(end - other_end) <= 0.075 * width for end, other_end in zip(given, other, strict=True))


def _by_means(use: Callable[..., Any]) -> Callable[[], Any]:
    """Return a function that makes an answer: use(before, after, draw), draw(values, size) giving means of draws."""

    def make() -> Any:
        def paired_interval(before: list[bool], after: list[bool], draws: int, rng: Any) -> Any:
            import numpy

            first, second = numpy.array(before, dtype=float), numpy.array(after, dtype=float)

            def draw(values: Any, size: int | None = None) -> Any:
                return values[rng.integers(0, len(values), (draws, size or len(values)))].mean(axis=1)

            return use(first, second, draw)

        return paired_interval

    return make


def _cut(values: Any, outside: float = 0.025) -> tuple[float, float]:
    import numpy

    return tuple(float(end) for end in numpy.quantile(values, [outside, 1 - outside]))


def _deviation(values: Any) -> tuple[float, float]:
    return float(values.mean() - values.std()), float(values.mean() + values.std())


_DOG = Exercise(
    id="custom_evaluation/dog",
    level="🐕",
    title="A paired interval",
    goal="Give the difference of two models an interval, message by message.",
    minutes=20,
    judge=_judge_interval,
    needs=("numpy",),
    hints=(
        "Make one list of differences first: after minus before, for each message 1, 0 or -1.",
        "One draw takes as many messages as there are, with repetition, and gives one mean.",
        "`rng.integers(0, n, n)` gives the places of one draw; `rng.integers(0, n, (draws, n))` those of all.",
        "The ends are `np.quantile(means, [0.025, 0.975])`.",
    ),
    wrong=(
        ("drawn apart", _by_means(lambda b, a, draw: _cut(draw(a) - draw(b))), "drawn apart"),
        ("turned", _by_means(lambda b, a, draw: _cut(draw(b - a))), "The difference is turned"),
        ("90 %", _by_means(lambda b, a, draw: _cut(draw(a - b), 0.05)), "a 90 % interval"),
        ("the range", _by_means(lambda b, a, draw: (draw(a - b).min(), draw(a - b).max())), "the range of all draws"),
        ("one deviation", _by_means(lambda b, a, draw: _deviation(draw(a - b))), "one standard deviation"),
        ("after alone", _by_means(lambda b, a, draw: _cut(draw(a))), "of after alone"),
        ("before alone", _by_means(lambda b, a, draw: _cut(draw(b))), "of before alone"),
        ("sums", _by_means(lambda b, a, draw: _cut(draw(a - b) * len(a))), "These are sums"),
        ("small draws", _by_means(lambda b, a, draw: _cut(draw(a - b, len(a) // 9))), "smaller than the list"),
        (
            "in percent",
            _by_means(lambda b, a, draw: tuple(100 * end for end in _cut(draw(a - b)))),
            "This is in percent",
        ),
        ("the high end first", _by_means(lambda b, a, draw: _cut(draw(a - b))[::-1]), "The low end comes first"),
        ("no replacement", _by_means(lambda b, a, draw: ((a - b).mean(), (a - b).mean())), "draw with replacement"),
        ("three numbers", _by_means(lambda b, a, draw: (*_cut(draw(a - b)), 0.0)), "two ends, but yours holds 3"),
        ("a text", _by_means(lambda b, a, draw: "0.03 to 0.11"), "but it is a text"),
    ),
)

# --- 🦁 A register of your own ------------------------------------------------------------------------------

_FEWEST, _AGREE, _DAYS = 60, 0.9, "monday tuesday wednesday thursday friday saturday sunday".split()
_FIELDS = {"title", "day", "start", "place", "people"}
_WHAT = {
    "register": str,
    "messages": list,
    "labels": list,
    "second_labels": list,
    "first_model_right": list,
    "second_model_right": list,
    "verdict": str,
}


def _judge_register(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    if not results["register"].strip() or not results["verdict"].strip():
        raise NotYet("register and verdict are still to be written.")
    n = len(results["messages"])
    if n < _FEWEST:
        return f"{n} messages decide too little: write at least {_FEWEST}."
    for name in ("labels", "second_labels", "first_model_right", "second_model_right"):
        if len(results[name]) != n:
            return f"There are {n} messages and {len(results[name])} entries in {name}: one for each is needed."
    texts = [expect(text, str, "each message") for text in results["messages"]]
    twice = n - len({" ".join(text.casefold().split()) for text in texts})
    if twice:
        return f"{twice} of the messages stand there twice: a copy measures nothing new."
    return _label_mistake(results) or _verdict_mistake(results)


def _label_mistake(results: dict[str, Any]) -> str | None:
    first = [_event(label, "labels") for label in results["labels"]]
    second = [_event(label, "second_labels") for label in results["second_labels"]]
    apart = sum(_facts(event) != _facts(other_event) for event, other_event in zip(first, second, strict=True))
    if not at_most(apart, (1 - _AGREE) * len(first)):
        return f"Your two labels differ in {apart} of {len(first)} messages: settle what is right before you measure."
    if all(event is not None for event in first):
        return "Every message has an event: some without one belong into the set, or nobody sees what is made up."
    return None


def _event(label: Any, name: str) -> dict[str, Any] | None:
    """The event that a label's JSON says. Raises Mistake."""
    try:
        event = json.loads(expect(label, str, f"each of {name}"))
    except ValueError as error:
        raise Mistake(f"{name} holds {str(label)[:40]!r}, which is no JSON.") from error
    if event is None:
        return None
    if type(event) is not dict or set(event) != _FIELDS or type(event["people"]) is not list:
        raise Mistake(f"{name} holds {str(label)[:40]!r}: an event has title, day, start, place and a list of people.")
    if event["day"] is not None and event["day"] not in _DAYS:
        raise Mistake(f"{name} has the day {str(event['day'])[:20]!r}: write weekdays in small letters, or null.")
    return event


def _facts(event: dict[str, Any] | None) -> object:
    """What two labels must agree on: everything but the wording of the title."""
    return event and (event["day"], event["start"], str(event["place"]).casefold(), sorted(map(str, event["people"])))


def _verdict_mistake(results: dict[str, Any]) -> str | None:
    """Say whether the verdict is what the two lists show."""
    for name in ("first_model_right", "second_model_right"):
        for value in results[name]:
            expect(value, bool, f"each of {name}")
    gained, lost = _changes(results["first_model_right"], results["second_model_right"])
    n, fewer = gained + lost, min(gained, lost)
    p = min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)
    shown = "cannot tell" if p >= 0.05 else "second is better" if gained > lost else "first is better"
    verdict = results["verdict"].strip().lower()
    if verdict not in ("cannot tell", "second is better", "first is better"):
        return f"The verdict {verdict[:30]!r} is none of: first is better, second is better, cannot tell."
    if verdict != shown:
        return f"{gained} gained and {lost} lost give p = {p:.2g}: the verdict is {shown!r}, not {verdict!r}."
    return None


_EVENT = {"title": "choir", "day": "monday", "start": "19:00", "place": None, "people": []}
_LABELS = [json.dumps(_EVENT)] * 50 + ["null"] * 10
_form = variants(
    {
        "register": "notes on a fridge",
        "messages": [f"note {number}" for number in range(60)],
        "labels": _LABELS,
        "second_labels": [json.dumps(_EVENT | {"title": "choir practice"})] * 50 + ["null"] * 10,
        "first_model_right": [True] * 20 + [False] * 40,
        "second_model_right": [True] * 35 + [False] * 25,
        "verdict": "second is better",
    }
)


_OTHER = json.dumps({"title": "choir", "day": "tuesday", "start": "19:00", "place": None, "people": []})

_LION = Exercise(
    id="custom_evaluation/lion",
    level="🦁",
    title="A register of your own",
    goal="Build a test for a register that the course does not have, and compare two models on it.",
    minutes=120,
    judge=_judge_register,
    hints=(
        "Take a register that you know: notes on a fridge, a club's calendar, messages between flatmates. Invent the "
        "people; let real messages of others alone.",
        "Write the rules of labelling down first (WRITING.md beside the data shows how). Half of all quarrels about "
        "a model are quarrels about a label.",
        "Label a second time a day later, without looking. Where you disagree with yourself, the message is unclear "
        "or the rule is.",
        "`load` and `asker` of `smol_course.evaluation.suite` ask a model; `event_right` judges; "
        "`compare` gives gained, lost, p.",
    ),
    wrong=(
        ("few messages", _form(messages=["a", "b"]), "2 messages decide too little"),
        ("the same twice", _form(messages=["a note"] * 2 + [f"note {k}" for k in range(58)]), "stand there twice"),
        ("a label is missing", _form(second_labels=["null"] * 59), "59 entries in second_labels"),
        ("no JSON", _form(labels=["friday"] * 60), "which is no JSON"),
        ("another form", _form(labels=['{"day": "monday"}'] * 60), "an event has title, day"),
        ("a capital day", _form(labels=[_OTHER.replace("tue", "Tue")] * 60), "has the day 'Tuesday'"),
        ("labels differ", _form(second_labels=[_OTHER] * 50 + ["null"] * 10), "differ in 50 of 60"),
        ("no empty message", _form(labels=[_OTHER] * 60, second_labels=[_OTHER] * 60), "Every message has an event"),
        ("numbers for right", _form(first_model_right=[1] * 60), "but it is a whole number"),
        ("too bold", _form(second_model_right=[True] * 22 + [False] * 38), "give p = 0.5: the verdict is 'cannot"),
        ("too shy", _form(verdict="cannot tell"), "the verdict is 'second is better'"),
        ("another verdict", _form(verdict="ship it"), "is none of: first is better"),
        ("a part is missing", lambda: {"register": "notes"}, "has no 'messages'"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)

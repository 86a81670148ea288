"""The exercises of the notebook serving: a percentile, and the steps that continuous batching saves."""

import heapq
import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, compared, expect, planted

# --- 🐢 The p95 ---------------------------------------------------------------------------------------------

# No product of share and length is a whole number but for rounding, so that no answer hangs on floats.
_TIMES: tuple[tuple[list[float], float], ...] = (
    ([float(3 * (7 * number % 20) + 5) for number in range(20)], 0.95),
    ([3.0, 1.0, 2.0, 4.0], 0.5),
    ([9.0, 1.0, 5.0], 0.5),
    ([2.0], 0.25),
    ([5.0, 8.0, 1.0], 1.0),
    ([7.0, 3.0, 8.0, 1.0], 0.3),
    ([6.0, 11.0, 2.0, 9.0, 4.0, 13.0, 7.0], 0.6),
    ([2.5, 0.5, 2.5, 0.5, 2.5], 0.5),
    ([4.0, 9.0, 2.0, 7.0], 0.1),
    ([30.0, 10.0, 50.0, 20.0, 40.0, 60.0], 0.55),
)


def _nearest(seconds: list[float], share: float) -> float:
    return sorted(seconds)[math.ceil(share * len(seconds)) - 1]


def _interpolated(seconds: list[float], share: float) -> float:
    ordered, place = sorted(seconds), share * (len(seconds) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _at(place: Callable[[float, int], int]) -> Callable[[list[float], float], float]:
    """A percentile that takes another place of the sorted times: place(share · number of times, number of times)."""
    return lambda seconds, share: sorted(seconds)[min(place(share * len(seconds), len(seconds)), len(seconds) - 1)]


_PERCENTILE_MISTAKES: dict[str, Callable[[list[float], float], float]] = {
    "The list is not sorted: the times come as they were measured.": lambda x, share: x[math.ceil(share * len(x)) - 1],
    "Sorted from the slowest: begin with the quickest.": lambda x, share: sorted(x)[::-1][
        math.ceil(share * len(x)) - 1
    ],
    "Always one place too far: with 4 times and a share of 0.5, the second is meant.": _at(
        lambda many, n: math.ceil(many)
    ),
    "One place too far where the share is a whole number of times: with 4 and 0.5, the second is meant.": _at(
        lambda many, n: int(many)
    ),
    "One place too early: fewer than that share were answered by then.": _at(lambda many, n: math.ceil(many) - 2),
    "Rounded down: where the share is no whole number of times, take the next larger one.": _at(
        lambda many, n: math.floor(many) - 1
    ),
    "Rounded down, and up to 1 where that gave 0: always take the next larger number of times.": _at(
        lambda many, n: max(0, math.floor(many) - 1)
    ),
    "Rounded to the nearer whole number: always round up, so that at least this share was answered.": _at(
        lambda many, n: round(many) - 1
    ),
    "Rounded to the nearer number of times, and up to 1 where that gave 0: always round up.": _at(
        lambda many, n: max(0, round(many) - 1)
    ),
    "The share is taken of the places from 0 on: take it of how many times there are, round up, then take one less.": (
        _at(lambda many, n: round(many / n * (n - 1)))
    ),
    "That is the mean: it says nothing about those who wait longest.": lambda x, share: sum(x) / len(x),
    "That is the largest: the share is not used.": lambda x, share: max(x),
    "That lies between two times (interpolated): take one that was measured.": _interpolated,
    "That is the slowest time multiplied by the share: take a time at its place in the sorted list.": lambda x, share: (
        share * max(x)
    ),
}


def _judge_percentile(answer: Any) -> str | None:
    values = []
    for seconds, share in _TIMES:
        copied = list(seconds)
        values.append(expect(call(answer, copied, share), (float, int), "what percentile returns"))
        if copied != seconds:
            return "Your function changed the list: `sorted` makes a new one."
    wanted = [_nearest(*case) for case in _TIMES]

    def say(place: int) -> str:
        seconds, share = _TIMES[place]
        shown = f"{len(seconds)} times" if len(seconds) > 8 else f"{[round(second, 1) for second in seconds]}"
        return f"For {shown} and {share:g} it should be {wanted[place]:g}, not {values[place]:g}."

    return compared(values, wanted, _TIMES, _PERCENTILE_MISTAKES, say)


def _sorts_in_place(seconds: list[float], share: float) -> float:
    seconds.sort()
    return _nearest(seconds, share)


_TURTLE = Exercise(
    id="serving/turtle",
    level="🐢",
    title="The p95",
    goal="Find the time within which a share of all requests was answered.",
    minutes=5,
    judge=_judge_percentile,
    hints=(
        "Sort the times, the quickest first. How many of them are the share?",
        "That number, rounded up, is the place in line: math.ceil(share * len(seconds)).",
        "Python counts places from 0, so take one less. `sorted(...)` leaves the list as it is.",
    ),
    wrong=(
        *planted(_PERCENTILE_MISTAKES),
        ("changes the list", lambda: _sorts_in_place, "changed the list"),
        ("a list", lambda: lambda seconds, share: [_nearest(seconds, share)], "but it is a list"),
        ("off", lambda: lambda seconds, share: _nearest(seconds, share) + 0.25, "it should be 59, not 59.25"),
    ),
)

# --- 🐕 Count the steps -------------------------------------------------------------------------------------

_LOADS: tuple[tuple[list[int], int], ...] = (
    ([5, 2, 1], 2),
    ([1, 2, 3, 4, 5, 6], 3),
    ([1, 5, 1, 5], 2),
    ([8, 1, 1, 1, 1, 1, 1, 1], 2),
    ([3, 3, 3], 1),
    ([2, 2], 4),
    ([], 3),
    ([1, 1, 1, 9, 9, 2, 7], 3),
    ([4, 6, 3, 9, 2, 8, 5], 2),
    ([2, 3, 2, 3, 2], 2),
)


def _static(lengths: list[int], slots: int) -> int:
    return sum(max(lengths[start : start + slots]) for start in range(0, len(lengths), slots))


def _continuous(lengths: list[int], slots: int) -> int:
    free = [0] * slots  # when each slot is free again
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


def _rounds(lengths: list[int], slots: int) -> int:
    return math.ceil(len(lengths) / slots)


def _dealt(lengths: list[int], slots: int) -> int:
    return max((sum(lengths[slot::slots]) for slot in range(slots)), default=0)


def _with_pause(lengths: list[int], slots: int) -> int:
    free = [-1] * slots
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + 1 + length)
    return max(free) if lengths else 0


_Count = Callable[[list[int], int], int]
_STATIC: dict[str, _Count] = {
    "Static: the lengths of a round are added up, but its requests are written together.": lambda x, slots: sum(x),
    "Static: that is the number of rounds; each takes as many steps as its longest answer.": _rounds,
    "Static: the longest answer of all counts in every round: take each round's own.": lambda x, slots: (
        _rounds(x, slots) * max(x, default=0)
    ),
    "Static: a slot is refilled before the whole round is done.": _continuous,
    "Static: each round ends with its shortest answer: the longest decides.": lambda x, slots: sum(
        min(x[start : start + slots]) for start in range(0, len(x), slots)
    ),
    "Static: the requests are sorted first: they are taken as they arrive.": lambda x, slots: _static(
        sorted(x, reverse=True), slots
    ),
    "Static: the last round is left out where it does not fill all slots.": lambda x, slots: _static(
        x[: len(x) // slots * slots], slots
    ),
}
_CONTINUOUS: dict[str, _Count] = {
    "Continuous: the requests are sorted first: they are taken as they arrive.": lambda x, slots: _continuous(
        sorted(x, reverse=True), slots
    ),
    "Continuous: that is all tokens shared out over the slots, but no answer can be split.": lambda x, slots: math.ceil(
        sum(x) / slots
    ),
    "Continuous: the slots are not refilled before all of them are done.": _static,
    "Continuous: that is the longest answer alone; others may have to wait for a slot.": lambda x, slots: max(
        x, default=0
    ),
    "Continuous: a step is lost at each change: the next one starts in the very next step.": _with_pause,
    "Continuous: the requests are dealt out in turn: the next one takes the slot that is free first.": _dealt,
}


def _judge_steps(answer: Any) -> str | None:
    values = []
    for lengths, slots in _LOADS:
        copied = list(lengths)
        counts = expect(call(answer, copied, slots), (tuple, list), "what steps returns")
        if len(counts) != 2:
            raise Mistake(f"steps should return two numbers, but it returns {len(counts)}.")
        values.append([expect(number, int, "each number of what steps returns") for number in counts])
        if copied != lengths:
            return "Your function changed the list that it was given: work on a copy."
    wanted = [[_static(*case), _continuous(*case)] for case in _LOADS]
    if [value[::-1] for value in values] == wanted:
        return "The two numbers are swapped: static comes first."
    return _steps_mistake(0, "Static", values, wanted, _STATIC) or _steps_mistake(
        1, "Continuous", values, wanted, _CONTINUOUS
    )


def _steps_mistake(
    side: int, name: str, values: list[list[int]], wanted: list[list[int]], ways: dict[str, _Count]
) -> str | None:
    """What is wrong with one of the two numbers, over all loads."""

    def say(place: int) -> str:
        lengths, slots = _LOADS[place]
        return (
            f"{name}: for {lengths} and {slots} slot{'s' if slots > 1 else ''} it should be {wanted[place][side]}, "
            f"not {values[place][side]}."
        )

    return compared([pair[side] for pair in values], [pair[side] for pair in wanted], _LOADS, ways, say)


def _counting(static: _Count = _static, continuous: _Count = _continuous) -> Callable[[], Any]:
    return lambda: lambda lengths, slots: (static(lengths, slots), continuous(lengths, slots))


_DOG = Exercise(
    id="serving/dog",
    level="🐕",
    title="Count the steps",
    goal="Count the steps that static and continuous batching take for the same requests.",
    minutes=20,
    judge=_judge_steps,
    hints=(
        "Static: cut the list into rounds of `slots` requests. How many steps does one round take?",
        "Continuous: keep for each slot the step at which it is free again. All begin at 0.",
        "The next request goes to the slot that is free first, and makes it busy for its length. At the end, the "
        "slot that is done last decides.",
        "An empty list takes no step: `max([0] * slots)` is 0, and so is the sum over no rounds.",
    ),
    wrong=(
        ("swapped", lambda: lambda le, s: (_continuous(le, s), _static(le, s)), "are swapped"),
        ("one number", lambda: lambda le, s: (_static(le, s),), "should return two numbers"),
        *((message, _counting(static=way), message) for message, way in _STATIC.items()),
        *((message, _counting(continuous=way), message) for message, way in _CONTINUOUS.items()),
        ("floats", lambda: lambda le, s: (float(_static(le, s)), 1.0), "should be a whole number"),
        ("off", _counting(continuous=lambda le, s: _continuous(le, s) + 50), "it should be 5, not 55"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

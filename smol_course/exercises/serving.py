"""The exercises of the notebook serving: a percentile, and the steps that continuous batching saves."""

import heapq
import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, expect

# --- 🐢 The p95 ---------------------------------------------------------------------------------------------

# Shares whose product with the length is exact in binary, so that no answer hangs on rounding.
_TIMES: tuple[tuple[list[float], float], ...] = (
    ([float(3 * (7 * number % 20) + 5) for number in range(20)], 0.95),
    ([3.0, 1.0, 2.0, 4.0], 0.5),
    ([9.0, 1.0, 5.0], 0.5),
    ([2.0], 0.25),
    ([5.0, 8.0, 1.0], 1.0),
)


def _nearest(seconds: list[float], share: float) -> float:
    return sorted(seconds)[math.ceil(share * len(seconds)) - 1]


def _judge_percentile(answer: Any) -> str | None:
    for seconds, share in _TIMES:
        given = list(seconds)
        found = expect(call(answer, given, share), (float, int), "what percentile returns")
        if found != _nearest(seconds, share):
            return _percentile_mistake(found, seconds, share)
        if given != seconds:
            return "The time is right, but your function changed the list: `sorted` makes a new one."
    return None


def _interpolated(seconds: list[float], share: float) -> float:
    ordered, place = sorted(seconds), share * (len(seconds) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _percentile_mistake(found: float, seconds: list[float], share: float) -> str:
    """Name the mistake that leads to this number."""
    ordered, place = sorted(seconds), math.ceil(share * len(seconds)) - 1
    known: dict[str, float] = {
        "The list is not sorted: the times come as they were measured.": seconds[place],
        "Sorted from the slowest: begin with the quickest.": ordered[::-1][place],
        "One place too far: with 4 times and a share of 0.5, the second is meant.": ordered[
            min(place + 1, len(ordered) - 1)
        ],
        "One place too early: fewer than that share were answered by then.": ordered[place - 1],
        "That is the mean: it says nothing about those who wait longest.": sum(seconds) / len(seconds),
        "That lies between two times (interpolated): take one that was measured.": _interpolated(seconds, share),
        "That is the share of the slowest time: the place in line is asked for.": share * max(seconds),
    }
    for message, number in known.items():
        if found == number:
            return message
    return f"For {len(seconds)} times and {share:g} it should be {_nearest(seconds, share):g}, not {found:g}."


def _place(change: Callable[[int], int]) -> Callable[[], Any]:
    """Return a function that makes a percentile which takes another place of the sorted times."""

    def percentile(seconds: list[float], share: float) -> float:
        place = change(math.ceil(share * len(seconds)) - 1)
        return sorted(seconds)[min(place, len(seconds) - 1)]

    return lambda: percentile


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
        (
            "not sorted",
            lambda: lambda seconds, share: seconds[math.ceil(share * len(seconds)) - 1],
            "The list is not sorted",
        ),
        ("one too far", _place(lambda place: place + 1), "One place too far"),
        ("one too early", _place(lambda place: place - 1), "One place too early"),
        (
            "from the slowest",
            lambda: lambda seconds, share: sorted(seconds, reverse=True)[math.ceil(share * len(seconds)) - 1],
            "Sorted from the slowest",
        ),
        ("the mean", lambda: lambda seconds, share: sum(seconds) / len(seconds), "That is the mean"),
        ("interpolated", lambda: _interpolated, "That lies between two times"),
        ("of the slowest", lambda: lambda seconds, share: share * max(seconds), "share of the slowest"),
        ("changes the list", lambda: _sorts_in_place, "changed the list"),
        ("a list", lambda: lambda seconds, share: [_nearest(seconds, share)], "but it is a list"),
        ("off", lambda: lambda seconds, share: _nearest(seconds, share) + 0.25, "it should be 59, not 59.25"),
    ),
)

# --- 🐕 Count the steps -------------------------------------------------------------------------------------

_LOADS = (
    ([5, 2, 1], 2),
    ([1, 2, 3, 4, 5, 6], 3),
    ([1, 5, 1, 5], 2),
    ([8, 1, 1, 1, 1, 1, 1, 1], 2),
    ([3, 3, 3], 1),
    ([2, 2], 4),
    ([], 3),
)


def _static(lengths: list[int], slots: int) -> int:
    return sum(max(lengths[start : start + slots]) for start in range(0, len(lengths), slots))


def _continuous(lengths: list[int], slots: int) -> int:
    free = [0] * slots  # when each slot is free again
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


def _judge_steps(answer: Any) -> str | None:
    for lengths, slots in _LOADS:
        given = list(lengths)
        found = expect(call(answer, given, slots), (tuple, list), "what steps returns")
        if len(found) != 2:
            raise Mistake(f"steps should return two numbers, but it returns {len(found)}.")
        for number in found:
            expect(number, int, "each number of what steps returns")
        if list(found) != [_static(lengths, slots), _continuous(lengths, slots)]:
            return _steps_mistake(*found, lengths, slots)
        if given != lengths:
            return "The steps are right, but your function changed the list that it was given."
    return None


def _steps_mistake(static: int, continuous: int, lengths: list[int], slots: int) -> str:
    """Name the mistake that leads to these two numbers."""
    right, best = _static(lengths, slots), _continuous(lengths, slots)
    ordered = sorted(lengths, reverse=True)
    rounds = math.ceil(len(lengths) / slots)
    if right != best and (static, continuous) == (best, right):
        return "The two numbers are swapped: static comes first."
    if static != right:
        known = {
            "Static: the lengths of a round are added up, but its requests are written together.": sum(lengths),
            "Static: that is the number of rounds; each takes as many steps as its longest answer.": rounds,
            "Static: the longest answer of all counts in every round: take each round's own.": rounds
            * max(lengths, default=0),
            "Static: a slot is refilled before the whole round is done.": best,
            "Static: each round ends with its shortest answer: the longest decides.": sum(
                min(lengths[start : start + slots]) for start in range(0, len(lengths), slots)
            ),
            "Static: the requests are sorted first: they are taken as they arrive.": _static(ordered, slots),
        }
        said = next((message for message, number in known.items() if static == number), None)
        return said or f"Static: for {lengths} and {slots} slots it should be {right}, not {static}."
    known = {
        "Continuous: the requests are sorted first: they are taken as they arrive.": _continuous(ordered, slots),
        "Continuous: that is all tokens shared out over the slots, but no answer can be split.": math.ceil(
            sum(lengths) / slots
        ),
        "Continuous: the slots are not refilled before all of them are done.": right,
        "Continuous: that is the longest answer alone; others may have to wait for a slot.": max(lengths, default=0),
        "Continuous: a step is lost at each change: the next one starts in the very next step.": _with_pause(
            lengths, slots
        ),
    }
    said = next((message for message, number in known.items() if continuous == number), None)
    return said or f"Continuous: for {lengths} and {slots} slots it should be {best}, not {continuous}."


def _with_pause(lengths: list[int], slots: int) -> int:
    free = [-1] * slots
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + 1 + length)
    return max(free) if lengths else 0


def _counting(
    static: Callable[[list[int], int], int] = _static,
    continuous: Callable[[list[int], int], int] = _continuous,
) -> Callable[[], Any]:
    return lambda: lambda lengths, slots: (static(lengths, slots), continuous(lengths, slots))


def _rounds(lengths: list[int], slots: int) -> int:
    return math.ceil(len(lengths) / slots)


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
        ("added up", _counting(static=lambda le, s: sum(le)), "are added up"),
        ("rounds", _counting(static=_rounds), "that is the number of rounds"),
        (
            "the longest of all",
            _counting(static=lambda le, s: _rounds(le, s) * max(le, default=0)),
            "take each round's own",
        ),
        ("both continuous", _counting(static=_continuous), "refilled before the whole round"),
        (
            "the shortest",
            _counting(static=lambda le, s: sum(min(le[i : i + s]) for i in range(0, len(le), s))),
            "the longest decides",
        ),
        ("split", _counting(continuous=lambda le, s: math.ceil(sum(le) / s)), "no answer can be split"),
        ("both static", _counting(continuous=_static), "not refilled before"),
        (
            "sorted",
            _counting(continuous=lambda le, s: _continuous(sorted(le, reverse=True), s)),
            "Continuous: the requests are sorted",
        ),
        ("the longest", _counting(continuous=lambda le, s: max(le, default=0)), "longest answer alone"),
        ("a pause", _counting(continuous=_with_pause), "a step is lost at each change"),
        ("floats", lambda: lambda le, s: (float(_static(le, s)), 1.0), "should be a whole number"),
        ("off", _counting(continuous=lambda le, s: _continuous(le, s) + 50), "it should be 5, not 55"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

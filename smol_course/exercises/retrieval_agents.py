"""The exercises of the notebook retrieval_agents: recall and mean reciprocal rank, and reciprocal rank fusion."""

import copy
import math
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, expect

# --- 🐢 How far down? ---------------------------------------------------------------------------------------

_SETS = (
    ([["a", "b", "c"], ["d", "a", "b"]], ["a", "a"], 1),
    ([["a", "b", "c"], ["d", "a", "b"], ["x", "y", "z"]], ["b", "b", "q"], 2),
    ([["a", "b", "c", "d", "e", "f"]], ["f"], 5),
    ([["a"], [], ["b", "a"]], ["a", "a", "a"], 3),
    ([["a", "b", "c", "d"], ["d", "c", "b", "a"]], ["d", "c"], 1),
)


def _places(rankings: list[list[str]], wanted: list[str]) -> list[int | None]:
    return [
        ranking.index(page) + 1 if page in ranking else None for ranking, page in zip(rankings, wanted, strict=True)
    ]


def _measures(rankings: list[list[str]], wanted: list[str], k: int) -> dict[str, float]:
    places = _places(rankings, wanted)
    recall = sum(place is not None and place <= k for place in places) / len(places)
    return {"recall": recall, "mrr": sum(1 / place for place in places if place) / len(places)}


def _judge_measures(answer: Any) -> str | None:
    results = [_measured(answer, *case) for case in _SETS]
    for name in ("recall", "mrr"):
        values = [result[name] for result in results]
        for value, case in zip(values, _SETS, strict=True):
            if not math.isclose(value, _measures(*case)[name], abs_tol=1e-6):
                return _measure_mistake(name, values, value, case)
    return None


def _measured(answer: Any, rankings: list[list[str]], wanted: list[str], k: int) -> dict[str, float]:
    """The learner's two numbers for a case. Raises Mistake."""
    copies = copy.deepcopy([rankings, wanted])
    numbers = expect(call(answer, *copies, k), dict, "what measures returns")
    if copies != [rankings, wanted]:
        raise Mistake("Your function changed the lists that it was given.")
    for name in ("recall", "mrr"):
        if name not in numbers:
            raise Mistake(f"The dictionary has no {name!r}.")
    return {name: float(expect(numbers[name], (float, int), name)) for name in ("recall", "mrr")}


# What well-known mistakes make of the places of a case, and k.
_RECALLS: dict[str, Callable[[list[int | None], int], float]] = {
    "k is left out: only the first k pages count.": lambda p, k: sum(x is not None for x in p) / len(p),
    "the last of the first k is left out: place k itself counts.": lambda p, k: (
        sum(bool(x) and x < k for x in p) / len(p)
    ),
    "it is a number of questions, not a share: divide by how many there are.": lambda p, k: sum(
        bool(x) and x <= k for x in p
    ),
}
_MRRS: dict[str, Callable[[list[int | None], int], float]] = {
    "places count from 1, not from 0: the first page gives 1, the second 1/2.": lambda p, k: (
        sum(1 / (x + 1) for x in p if x) / len(p)
    ),
    "questions whose page is not in the list count as 0, and are not left out.": lambda p, k: (
        sum(1 / x for x in p if x) / max(1, sum(map(bool, p)))
    ),
    "only pages within the first k count in yours: for mrr, k does not matter.": lambda p, k: (
        sum(1 / x for x in p if x and x <= k) / len(p)
    ),
    "it is the mean place: take 1 / place first, then the mean.": lambda p, k: sum(x for x in p if x) / len(p),
    "it is a sum: divide by the number of questions.": lambda p, k: sum(1 / x for x in p if x),
}


def _measure_mistake(name: str, values: list[float], value: float, case: tuple[Any, ...]) -> str:
    """Name the mistake that leads to these values in all cases."""
    for message, rule in (_RECALLS if name == "recall" else _MRRS).items():
        known = [rule(_places(rankings, wanted), k) for rankings, wanted, k in _SETS]
        if all(math.isclose(yours, mistaken, abs_tol=1e-6) for yours, mistaken in zip(values, known, strict=True)):
            return f"{name}: {message}"
    rankings, wanted, k = case
    right = _measures(*case)[name]
    return f"{name}: for {rankings}, the pages {wanted} and k = {k} it should be {right:.4f}, but yours is {value:.4f}."


def _measuring(**changed: Callable[..., float]) -> Callable[[], Any]:
    """Return a function that makes `measures`, some of which are computed wrongly from (places, k)."""

    def measures(rankings: Any, wanted: Any, k: int) -> dict[str, float]:
        places = _places(rankings, wanted)
        return _measures(rankings, wanted, k) | {name: change(places, k) for name, change in changed.items()}

    return lambda: measures


def _sorts(rankings: Any, wanted: Any, k: int) -> dict[str, float]:
    measures = _measures(rankings, wanted, k)
    rankings[0].reverse()
    wanted.append("a")
    return measures


_TURTLE = Exercise(
    id="retrieval_agents/turtle",
    level="🐢",
    title="How far down?",
    goal="Compute recall at k and the mean reciprocal rank.",
    minutes=5,
    judge=_judge_measures,
    hints=(
        "Find the place of the right page in each list, from 1 on; `list.index` counts from 0.",
        "Recall: for how many questions is the place at most k? Divide by the number of questions.",
        "MRR: add 1 / place where there is a place, and divide by the number of all questions.",
    ),
    wrong=(
        ("no k", _measuring(recall=lambda p, k: sum(x is not None for x in p) / len(p)), "k is left out"),
        (
            "below k",
            _measuring(recall=lambda p, k: sum(bool(x) and x < k for x in p) / len(p)),
            "place k itself counts",
        ),
        ("count", _measuring(recall=lambda p, k: sum(bool(x) and x <= k for x in p)), "not a share"),
        (
            "from zero",
            _measuring(mrr=lambda p, k: sum(1 / (x + 1) for x in p if x) / len(p)),
            "count from 1, not from 0",
        ),
        (
            "missing left out",
            _measuring(mrr=lambda p, k: sum(1 / x for x in p if x) / max(1, sum(map(bool, p)))),
            "count as 0",
        ),
        ("mrr at k", _measuring(mrr=lambda p, k: sum(1 / x for x in p if x and x <= k) / len(p)), "k does not matter"),
        ("mean place", _measuring(mrr=lambda p, k: sum(x for x in p if x) / len(p)), "take 1 / place first"),
        ("one missing", lambda: lambda r, w, k: {"recall": _measures(r, w, k)["recall"]}, "has no 'mrr'"),
        ("changes its input", lambda: _sorts, "changed the lists"),
        ("a tuple", lambda: lambda r, w, k: tuple(_measures(r, w, k).values()), "should be a dictionary"),
    ),
)

# --- 🐕 Fuse rankings ---------------------------------------------------------------------------------------

# The third case tells ranks from 0 and 1 apart, the fourth needs k; in the fifth, names tie; in the seventh, a list
# is empty; the last two tell ranks from 0, 1 and 2 apart, and other sums.
_CASES = (
    ([["a", "b", "c"], ["b", "c", "a"]], 60),
    ([["a", "b"], ["c", "b"]], 1),
    ([["x", "p", "y"], ["q", "r", "s", "y"]], 2),
    ([["x", "y"], ["q", "r", "y"]], 3),
    ([["m", "k"], ["k", "m"], ["z"]], 10),
    ([["a", "b", "c"], ["c", "d"], ["d", "c", "e"]], 2.5),
    ([[], ["u", "v"]], 60),
    ([["a", "b", "c", "d"], ["e", "f", "c", "d"]], 1.5),
    ([["g", "a", "b", "f", "d"], ["c", "a", "b", "d", "g"]], 1),
)


def _points(rankings: list[list[str]], k: float, first: int = 1) -> dict[str, float]:
    points: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(ranking, first):
            points[name] = points.get(name, 0.0) + 1 / (k + rank)
    return points


def _ordered(points: dict[str, float], reverse: bool = True) -> list[str]:
    return sorted(points, key=lambda name: -round(points[name], 12) if reverse else round(points[name], 12))


def _judge_fused(answer: Any) -> str | None:
    orders = []
    for rankings, k in _CASES:
        copied = copy.deepcopy(rankings)
        order = expect(call(answer, copied, k), list, "what fused returns")
        if copied != rankings:
            return "Your function changed the lists that it was given: work on copies."
        orders.append([expect(name, str, "each name of what fused returns") for name in order])
    for order, (rankings, k) in zip(orders, _CASES, strict=True):
        if order != _ordered(_points(rankings, k)):
            return _fusion_mistake(orders, order, rankings, k)
    return None


def _best(rankings: list[list[str]], k: float) -> dict[str, float]:
    return {
        n: max(1 / (k + ranking.index(n) + 1) for ranking in rankings if n in ranking) for n in _points(rankings, k)
    }


def _votes(rankings: list[list[str]], k: float) -> dict[str, float]:
    return {n: float(sum(n in ranking for ranking in rankings)) for n in _points(rankings, k)}


def _means(rankings: list[list[str]], k: float) -> dict[str, float]:
    return {n: points / _votes(rankings, k)[n] for n, points in _points(rankings, k).items()}


def _by_letters(rankings: list[list[str]], k: float) -> list[str]:
    points = _points(rankings, k)
    return sorted(points, key=lambda name: (-round(points[name], 12), name))


_ORDERS: dict[str, Callable[[list[list[str]], float], list[str]]] = {
    "The order is turned round: the most points come first.": lambda r, k: _ordered(_points(r, k), reverse=False),
    "Only the best list of each name counts in yours: add up the points of all lists.": lambda r, k: _ordered(
        _best(r, k)
    ),
    "The points are averaged: they are added up, so that a name in two lists gains.": lambda r, k: _ordered(
        _means(r, k)
    ),
    "Only the number of lists counts in yours: a list gives 1 / (k + rank).": lambda r, k: _ordered(_votes(r, k)),
    "k is missing: a list gives 1 / (k + rank).": lambda r, k: _ordered(_points(r, 0.0)),
    "Ranks count from 1 here, not from 0.": lambda r, k: _ordered(_points(r, k, first=0)),
    "Ranks count from 1 here, not from 2.": lambda r, k: _ordered(_points(r, k, first=2)),
    "Names with the same points stand in the order in which you met them: sort these by their letters.": _by_letters,
}


def _fusion_mistake(found: list[list[str]], order: list[str], rankings: list[list[str]], k: float) -> str:
    """Name the mistake that leads to these orders."""
    points = _points(rankings, k)
    if len(set(order)) != len(order):
        return "A name stands twice in the result: each comes once, with the points of all lists added up."
    if set(order) != set(points):
        missing, strange = sorted(set(points) - set(order)), sorted(set(order) - set(points))
        if missing:
            return f"For {rankings} the result has no {missing[0]!r}: all names of all lists belong there."
        return f"For {rankings} the result has {strange[0][:40]!r}, which stands in none of the lists."
    for message, rule in _ORDERS.items():
        if found == [rule(*case) for case in _CASES]:
            return message
    return f"For {rankings} and k = {k} it should be {_ordered(points)}, but yours is {order}."


def _fusing(score: Callable[[list[list[str]], float], dict[str, float]], reverse: bool = True) -> Callable[[], Any]:
    return lambda: lambda rankings, k: _ordered(score(rankings, k), reverse)


def _in_place(rankings: list[list[str]], k: float) -> list[str]:
    order = _ordered(_points(rankings, k))
    for ranking in rankings:
        ranking.clear()
    return order


_DOG = Exercise(
    id="retrieval_agents/dog",
    level="🐕",
    title="Fuse rankings",
    goal="Merge rankings by reciprocal rank fusion.",
    minutes=20,
    judge=_judge_fused,
    hints=(
        "Keep the points of each name in a dictionary, and go through the lists one after the other: each adds to "
        "what is there.",
        "`points.get(name, 0)` is what a name has so far; `enumerate(ranking, 1)` counts from 1.",
        "Each list adds `1 / (k + rank)` to a name.",
        "`sorted` keeps the order of equals, and a dictionary keeps the order in which names came in.",
    ),
    wrong=(
        ("turned round", _fusing(_points, reverse=False), "turned round"),
        ("best only", _fusing(_best), "Only the best list"),
        ("votes", _fusing(_votes), "Only the number of lists"),
        ("mean", _fusing(_means), "are averaged"),
        ("no k", _fusing(lambda rs, k: _points(rs, 0.0)), "k is missing"),
        ("from zero", _fusing(lambda rs, k: _points(rs, k, first=0)), "from 1 here, not from 0"),
        ("by letters", lambda: _by_letters, "sort these by their letters"),
        ("twice", lambda: lambda rs, k: [name for ranking in rs for name in ranking], "stands twice"),
        (
            "common ones only",
            lambda: lambda rs, k: [n for n in _ordered(_points(rs, k)) if all(n in r for r in rs)],
            "all names of all lists belong there",
        ),
        (
            "one more",
            lambda: lambda rs, k: [*_ordered(_points(rs, k)), "made up"],
            "has 'made up', which stands in none",
        ),
        ("from two", _fusing(lambda rs, k: _points(rs, k, first=2)), "from 1 here, not from 2"),
        ("points, too", lambda: lambda rs, k: _points(rs, k), "should be a list"),
        ("changes its input", lambda: _in_place, "changed the lists"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

"""The exercises of the notebook preference_datasets: pairs without ties, and a judge that is asked both ways."""

from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, compared, expect, planted

# --- 🐢 Ties out --------------------------------------------------------------------------------------------

_GRADED = (
    ([("a", 3, "b", 1), ("c", 2, "d", 2), ("e", 0, "f", 5)], 1),
    ([("g", -1, "h", -3), ("i", -2, "j", -1), ("k", 0, "l", -4)], 2),
    ([("m", 1, "n", 1)], 0.5),
    ([("z", 1.0, "y", 1.5), ("b", 2.5, "a", 2.25), ("c", 0.5, "x", 0.0), ("t", 3.0, "s", 1.0)], 0.5),
    ([], 1),
    ([("p", -1, "o", 1), ("r", 2, "q", -2), ("u", -1.5, "v", 2.5)], 2),
)


def _preferences(pairs: list, least: float, kept: Callable[[float], bool] | None = None) -> list[tuple[str, str]]:
    preferences = []
    for text, grade, other, other_grade in pairs:
        margin = abs(grade - other_grade)
        if kept(margin) if kept else margin >= least:
            preferences.append((text, other) if grade > other_grade else (other, text))
    return preferences


_PAIR_MISTAKES: dict[str, Callable[..., Any]] = {
    "Ties are kept: equal grades state no preference.": lambda p, least: _preferences(p, least, lambda margin: True),
    "Only ties go: the grades must lie at least `least` apart.": lambda p, least: _preferences(
        p, least, lambda margin: margin > 0
    ),
    "A margin of exactly `least` is enough: at least, not more than.": lambda p, least: _preferences(
        p, least, lambda margin: margin > least
    ),
    "The wrong way round: the text with the higher grade comes first.": lambda p, least: [
        pair[::-1] for pair in _preferences(p, least)
    ],
    "A pair whose second text is the better one counts, too: take the distance of the grades without its sign.": (
        lambda p, least: [(text, other) for text, a, other, b in p if a - b >= least]
    ),
    "The texts stand in the order of the input: put the better one first.": lambda p, least: [
        (text, other) for text, a, other, b in p if abs(a - b) >= least
    ],
    "Keep the order of the pairs: yours are sorted.": lambda p, least: sorted(_preferences(p, least)),
    "Keep the order of the pairs: yours are turned round.": lambda p, least: _preferences(p, least)[::-1],
    "Margins are no whole numbers here: do not round them.": lambda p, least: _preferences(
        [(text, int(a), other, int(b)) for text, a, other, b in p], least
    ),
    "Nothing is kept.": lambda p, least: [],
}


def _pairs_given(value: Any, what: str) -> list[tuple[str, str]]:
    """The learner's pairs as tuples of two texts. Raises Mistake."""
    pairs = []
    for pair in expect(value, list, what):
        pair = expect(pair, (tuple, list), f"each pair that {what.split()[-2]} returns")
        if len(pair) != 2:
            raise Mistake(f"A pair is (chosen, rejected), two texts, but one of yours has {len(pair)} parts.")
        pairs.append((expect(pair[0], str, "the chosen text"), expect(pair[1], str, "the rejected text")))
    return pairs


def _judge_preferences(answer: Any) -> str | None:
    values = [_pairs_given(call(answer, list(pairs), least), "what preferences returns") for pairs, least in _GRADED]
    wanted = [_preferences(*case) for case in _GRADED]

    def say(place: int) -> str:
        pairs, least = _GRADED[place]
        return f"With least = {least}, {pairs} gives {wanted[place]}; yours: {str(values[place])[:120]}."

    return compared(values, wanted, _GRADED, _PAIR_MISTAKES, say)


_TURTLE = Exercise(
    id="preference_datasets/turtle",
    level="🐢",
    title="Ties out",
    goal="Keep the pairs that state a preference, the better text first.",
    minutes=5,
    judge=_judge_preferences,
    hints=(
        "Go through the pairs: `for text, grade, other, other_grade in pairs`.",
        "`abs(grade - other_grade) >= least` says whether a pair stays.",
        "Put the text with the higher grade first, whichever of the two it is.",
    ),
    wrong=(
        *planted(_PAIR_MISTAKES),
        ("with grades", lambda: lambda p, least: [tuple(pair) for pair in p], "one of yours has 4 parts"),
        ("a tuple", lambda: lambda p, least: tuple(_preferences(p, least)), "preferences returns should be a list"),
    ),
)

# --- 🐕 A judge asked both ways -----------------------------------------------------------------------------

# Texts by how good they are; a judge's chance grows with the distance, and with a liking for the first place.
_GOOD = {"poor": 0, "fair": 1, "good": 2, "best": 4}


def _reads(weight: float, liking: float) -> Callable[[str, str], float]:
    """A judge: half, plus weight for each step that the first text is better, plus a liking for the first place."""
    return lambda one, other: min(1.0, max(0.0, 0.5 + weight * (_GOOD[one] - _GOOD[other]) + liking))


def _says(chances: dict[str, tuple[float, float]]) -> Callable[[str, str], float]:
    """A judge that gives the first of two texts these chances: where it stands first, and where it stands second."""

    def judge(one: str, other: str) -> float:
        if one == other:
            return 0.5
        return chances[one + other][0] if one + other in chances else 1 - chances[other + one][1]

    return judge


# Every limit from both sides, for the first text and for the second. All numbers are exact in binary.
_AT_THE_LIMITS = {
    "kl": (0.5625, 0.8125),  # both above a half, the mean below 0.75
    "km": (0.50390625, 1.0),  # one just above a half
    "kn": (0.0, 0.5),  # the mean is enough for n, but one is a half
    "lm": (0.49609375, 0.0),  # one just below a half
    "ln": (0.5, 0.0),
    "mn": (0.75, 0.75),
    "ko": (0.5, 1.0),
    "lo": (1.0, 0.5),
    "mo": (0.25, 0.25),
    "no": (0.1875, 0.4375),  # both below a half, the mean above 0.25
    "kp": (0.625, 0.9375),  # the mean is enough, one of them is not
    "lp": (0.9375, 0.625),
    "mp": (0.5, 0.5),
    "np": (0.0625, 0.375),
    "op": (0.375, 0.0625),
}
_JUDGES: tuple[tuple[str, Callable[[str, str], float], list[str], float], ...] = (
    ("that reads", _reads(0.125, 0.0), ["poor", "best", "fair"], 0.625),
    ("that likes the first place", _reads(0.0, 0.375), ["poor", "fair", "good"], 0.5),
    ("that reads and likes the first place", _reads(0.125, 0.25), ["fair", "poor", "best", "good"], 0.5),
    ("that likes the second place", _reads(0.125, -0.125), ["good", "fair", "best"], 0.625),
    ("that is unsure", _reads(0.0625, 0.0), ["poor", "fair", "best"], 0.75),
    ("that likes the first place a little", _reads(0.125, 0.125), ["fair", "good", "best"], 0.75),
    ("whose chances lie at the limits", _says(_AT_THE_LIMITS), ["k", "l", "m", "n", "o", "p"], 0.75),
    ("that is asked about one text", _reads(0.125, 0.0), ["good"], 0.5),
)
_ASKED = [case for _, *case in _JUDGES]


def _both_ways(judge: Any, texts: list[str], sure: float, rule: str = "") -> list[tuple[str, str]]:
    """The reference; a ``rule`` makes it a mistaken one."""
    preferences = []
    for text, other in (permutations if rule == "twice" else combinations)(texts, 2):
        first, second = judge(text, other), 1 - judge(other, text)  # the chance of `text`, when first and when second
        if rule == "one way":
            second = first
        if rule == "not turned":
            second = 1 - second
        chance = (first + second) / 2
        turned = (other, text), 1 - first, 1 - second, 1 - chance
        for pair, a, b, mean in (((text, other), first, second, chance), turned):
            held = rule == "no order" or (a > 0.5 and b > 0.5)
            others = {"no sure": True, "each sure": a >= sure and b >= sure, "more": mean > sure}
            enough = others.get(rule, mean >= sure)
            if held and enough and (mean > 0.5 or rule != "no order"):
                preferences.append(pair[::-1] if rule == "turned" else pair)
    return preferences


_JUDGE_MISTAKES: dict[str, Callable[..., Any]] = {
    "It asks one way only, so a judge that likes a place decides by the place.": lambda j, t, s: _both_ways(
        j, t, s, "one way"
    ),
    "With the texts exchanged, the judge speaks about the other text: take 1 minus what it says.": lambda j, t, s: (
        _both_ways(j, t, s, "not turned")
    ),
    "The mean alone is not enough: in each order the same text must get more than 0.5.": lambda j, t, s: _both_ways(
        j, t, s, "no order"
    ),
    "`sure` is forgotten: the mean must reach it.": lambda j, t, s: _both_ways(j, t, s, "no sure"),
    "`sure` is for the mean of the two orders; in each of them more than 0.5 is enough.": lambda j, t, s: _both_ways(
        j, t, s, "each sure"
    ),
    "A mean of exactly `sure` is enough: at least, not more than.": lambda j, t, s: _both_ways(j, t, s, "more"),
    "Every pair comes twice: take combinations, not permutations.": lambda j, t, s: _both_ways(j, t, s, "twice"),
    "The wrong way round: (chosen, rejected), the better text first.": lambda j, t, s: _both_ways(j, t, s, "turned"),
    "Nothing is kept, not even where the judge reads and is sure.": lambda j, t, s: [],
}


def _judge_both_ways(answer: Any) -> str | None:
    values = [
        _pairs_given(call(answer, judge, list(texts), sure), "what asked_both_ways returns")
        for judge, texts, sure in _ASKED
    ]
    wanted = [_both_ways(*case) for case in _ASKED]

    def say(place: int) -> str:
        kind, _, _, sure = _JUDGES[place]
        pairs, right = values[place], wanted[place]
        odd = next(((pair, "is kept, but should not be") for pair in pairs if pair not in right), None)
        odd = odd or next(((pair, "is missing") for pair in right if pair not in pairs), None)
        if not odd:
            return "The right pairs, but not each once, or not in the order in which combinations gives them."
        (text, other), fault = odd
        judge = _JUDGES[place][1]
        return (
            f"With a judge {kind} and sure = {sure}, ({text!r}, {other!r}) {fault}: it gives {text!r} a chance of "
            f"{judge(text, other):.4g} where that stands first, and of {1 - judge(other, text):.4g} where it stands "
            "second."
        )

    return compared(values, wanted, _ASKED, _JUDGE_MISTAKES, say)


_DOG = Exercise(
    id="preference_datasets/dog",
    level="🐕",
    title="A judge asked both ways",
    goal="Get preferences from a judge that may like a place more than a text.",
    minutes=20,
    judge=_judge_both_ways,
    hints=(
        "For each pair ask twice: `judge(one, other)` and `judge(other, one)`.",
        "The second answer is about `other`. The chance of `one` in that order is 1 minus it.",
        "The chance that counts is the mean of the two. That of the other text is 1 minus this mean.",
        "`one` is chosen if the mean is at least `sure` and both of its chances are above 0.5; `other` likewise, with "
        "its own chances.",
    ),
    wrong=(
        *planted(_JUDGE_MISTAKES),
        (
            "one limit only",
            lambda: lambda j, t, s: [pair for pair in _both_ways(j, t, s, "no sure") if j(*pair) >= s],
            "('k', 'm') is missing",
        ),
    ),
)

EXERCISES = (_TURTLE, _DOG)

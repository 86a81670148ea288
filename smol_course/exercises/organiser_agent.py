"""The exercises of the notebook organiser_agent: the same week, a runaway stopped, and a better organiser.

The 🦁 is judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

from smol_course.exercises import (
    Exercise,
    NotYet,
    call,
    complete,
    enough,
    expect,
    returned,
    shares,
    untested,
    variants,
)

# --- 🐢 The same week? --------------------------------------------------------------------------------------


def _event(title: str, day: str = "monday", start: str = "09:00", **more: Any) -> dict[str, Any]:
    return {"title": title, "day": day, "start": start} | more


_GYM, _LUNCH = _event("gym"), _event("lunch", "friday", "12:30")
_WEEKS = (
    ("the same events", [_GYM, _LUNCH], [_GYM, _LUNCH], True),
    ("another order", [_LUNCH, _GYM], [_GYM, _LUNCH], True),
    ("other capital letters, and numbers", [_event("GYM", id=3), _LUNCH | {"id": 4}], [_event("Gym"), _LUNCH], True),
    ("one too many", [_GYM, _LUNCH], [_GYM], False),
    ("one missing", [_GYM], [_GYM, _LUNCH], False),
    ("one of them twice", [_GYM, _GYM, _LUNCH], [_GYM, _LUNCH, _LUNCH], False),
    ("another start", [_event("gym", start="10:00")], [_GYM], False),
    ("another day", [_event("gym", "tuesday")], [_GYM], False),
    ("another title", [_event("swim")], [_GYM], False),
    ("another title of the same letters", [_event("tea")], [_event("eat")], False),
    (
        "two titles exchanged",
        [_event("lunch"), _event("gym", "friday", "12:30")],
        [_GYM, _LUNCH],
        False,
    ),
    ("two days exchanged", [_event("gym", "friday"), _event("lunch", start="12:30")], [_GYM, _LUNCH], False),
    ("two starts exchanged", [_event("gym", start="12:30"), _event("lunch", "friday")], [_GYM, _LUNCH], False),
    (
        "another order of like titles",
        [_event("gym", "friday"), _event("Gym", "monday", "18:00"), _GYM],
        [_GYM, _event("gym", "monday", "18:00"), _event("GYM", "friday")],
        True,
    ),
    ("two empty weeks", [], [], True),
    ("an empty one beside one with an event", [], [_GYM], False),
    ("an event beside an empty week", [_GYM], [], False),
)


def _key(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["title"].casefold(), event["day"], event["start"]


def _judge_same(answer: Any) -> str | None:
    for case, week, wanted, right in _WEEKS:
        copies = copy.deepcopy([week, wanted])
        verdict = expect(call(answer, *copies), bool, "what same returns")
        if copies != [week, wanted]:
            return "Your function changed the lists that it was given: work on copies."
        if verdict != right:
            return _week_mistake(case, right)
    return None


def _week_mistake(what: str, right: bool) -> str:
    reasons = {
        "another order": "the order of the events does not count.",
        "other capital letters, and numbers": "titles are compared without upper and lower case; `id` does not count.",
        "one too many": "an event that nobody wanted is a mistake: look at both lists.",
        "one missing": "an event that is missing is a mistake: look at both lists.",
        "one of them twice": "each event counts as often as it stands there (a set forgets that).",
        "another start": "the start counts, too.",
        "another day": "the day counts, too.",
        "another title": "the title counts, too.",
        "another title of the same letters": "compare titles as they are read, but for upper and lower case.",
        "two titles exchanged": "each event has its own title: the three belong together.",
        "two days exchanged": "each event has its own day: the three belong together.",
        "two starts exchanged": "each event has its own start: the three belong together.",
        "an empty one beside one with an event": "an event is missing.",
        "an event beside an empty week": "an event that nobody wanted is a mistake.",
    }
    return f"{what[0].upper()}{what[1:]}: it should be {right}; {reasons.get(what, 'these are the same week.')}"


def _emptying(found: list, wanted: list) -> bool:
    left = [_key(event) for event in wanted]
    while found:
        key = _key(found.pop())
        if key not in left:
            return False
        left.remove(key)
    return not left


def _columns(found: list, wanted: list) -> bool:
    """Titles, days and starts are compared, each sorted by itself."""
    left, right = ([sorted(column) for column in zip(*map(_key, week), strict=True)] for week in (found, wanted))
    return left == right


_TURTLE = Exercise(
    id="organiser_agent/turtle",
    level="🐢",
    title="The same week?",
    goal="Say whether two lists of events are the same week.",
    minutes=5,
    judge=_judge_same,
    hints=(
        "Make of each event what counts: its title in lower case, its day, its start.",
        "Two sorted lists of these are equal exactly if the weeks are.",
        "`sorted((e['title'].lower(), e['day'], e['start']) for e in found)`",
    ),
    wrong=(
        ("as they stand", lambda: lambda f, w: [_key(e) for e in f] == [_key(e) for e in w], "the order of the events"),
        ("capital letters", lambda: lambda f, w: sorted(map(str, f)) == sorted(map(str, w)), "upper and lower case"),
        ("sets", lambda: lambda f, w: set(map(_key, f)) == set(map(_key, w)), "a set forgets that"),
        ("wanted in found", lambda: lambda f, w: all(e in map(_key, f) for e in map(_key, w)), "nobody wanted"),
        ("found in wanted", lambda: lambda f, w: all(e in list(map(_key, w)) for e in map(_key, f)), "that is missing"),
        (
            "no start",
            lambda: lambda f, w: Counter(_key(e)[:2] for e in f) == Counter(_key(e)[:2] for e in w),
            "the start counts",
        ),
        (
            "only starts",
            lambda: lambda f, w: sorted(e["start"] for e in f) == sorted(e["start"] for e in w),
            "day counts",
        ),
        (
            "no title",
            lambda: lambda f, w: sorted(_key(e)[1:] for e in f) == sorted(_key(e)[1:] for e in w),
            "the title counts",
        ),
        ("each by itself", lambda: _columns, "own title: the three belong together"),
        ("empties a list", lambda: _emptying, "changed the lists"),
        ("a number", lambda: lambda f, w: 1, "should be True or False"),
    ),
)

# --- 🐕 Stop a runaway --------------------------------------------------------------------------------------

_A, _B, _C, _D = (
    ("list(monday)", "nothing"),
    ("list(friday)", "1: gym"),
    ("add(gym)", "added 2"),
    ("list(monday)", "2: gym"),
)
_RUNS: tuple[tuple[str, list[tuple[str, str]], int, str | None], ...] = (
    ("a fresh run", [], 5, None),
    ("three different steps", [_A, _B, _C], 5, None),
    ("as many steps as allowed", [_A, _B, _C], 3, "too many steps"),
    ("the same pair three times", [_C, _A, _A, _A], 9, "the same again"),
    ("the same pair twice", [_A, _A], 9, None),
    ("the same call with other observations", [("wait()", "1"), ("wait()", "2"), ("wait()", "3")], 9, None),
    ("to and fro", [_C, _A, _B, _A, _B], 9, "to and fro"),
    ("the same pair three times, some steps ago", [_A, _A, _A, _B], 9, None),
    ("two reasons at once", [_A, _A, _A], 3, "too many steps"),
    ("more steps than allowed", [_A, _B, _C, _D], 3, "too many steps"),
    ("to and fro, and no step left", [_A, _B, _A, _B], 4, "too many steps"),
    ("the same pair four times", [_A, _A, _A, _A], 9, "the same again"),
    ("the first three steps are the same pair", [_A, _A, _A], 9, "the same again"),
    ("to and fro from the first step on", [_B, _A, _B, _A], 9, "to and fro"),
    ("to and fro three times", [_A, _B, _A, _B, _A, _B], 9, "to and fro"),
    *(
        (f"steps {' '.join(letters)}", [{"A": _A, "B": _B, "C": _C, "D": _D}[letter] for letter in letters], 9, None)
        for letters in (
            "A",
            "BAA",
            "ABA",
            "AAB",
            "ABCD",
            "ABCA",
            "ABCB",
            "ABAC",
            "ABBA",
            "AABB",
            "ABDB",
            "ABABC",
            "ADAA",
        )
    ),
    (
        "the same calls to and fro with other observations",
        [("a()", "1"), ("b()", "1"), ("a()", "2"), ("b()", "2")],
        9,
        None,
    ),
    ("one call to and fro between two observations", [_A, _D, _A, _D], 9, "to and fro"),
    ("to and fro twice and a half", [_D, _A, _D, _A, _D], 9, "to and fro"),
    ("two calls to and fro with one observation", [("a()", "ok"), ("b()", "ok")] * 2, 9, "to and fro"),
    ("the same pair twice behind its observation", [("show()", "nothing"), _A, _A], 9, None),
    ("the same pair twice behind its call", [_D, _A, _A], 9, None),
    ("other calls with the same observation", [("a()", "ok"), ("b()", "ok"), ("c()", "ok"), ("d()", "ok")], 9, None),
    ("other calls with observations to and fro", [("a()", "1"), ("b()", "2"), ("c()", "1"), ("d()", "2")], 9, None),
)


def _reason(steps: list[tuple[str, str]], most: int) -> str | None:
    if len(steps) >= most:
        return "too many steps"
    if len(steps) >= 3 and steps[-1] == steps[-2] == steps[-3]:
        return "the same again"
    if len(steps) >= 4 and steps[-1] == steps[-3] and steps[-2] == steps[-4] and steps[-1] != steps[-2]:
        return "to and fro"
    return None


def _judge_end(answer: Any) -> str | None:
    reasons = []
    for _, steps, most, _ in _RUNS:
        copied = copy.deepcopy(steps)
        reasons.append(_said(answer, copied, most))
        if copied != steps:
            return "Your function changed the list that it was given: look at it only."
    if not any(reasons):
        raise NotYet("must_end never stops anything so far: return the reason as a text.")
    for reason, (case, steps, most, wanted) in zip(reasons, _RUNS, strict=True):
        if reason != wanted:
            return _end_mistake(case, steps, most, reason, wanted)
    return None


def _said(answer: Any, steps: list[tuple[str, str]], most: int) -> str | None:
    """What the learner's function returned; here None is an answer."""
    reason = returned(answer, steps, most)
    return None if reason is None else expect(reason, str, "what must_end returns")


def _end_mistake(what: str, steps: list[tuple[str, str]], most: int, said: str | None, wanted: str | None) -> str:
    if what == "as many steps as allowed" and said is None:
        return (
            f"The case of {what}: {len(steps)} steps of at most {most} were made, so it must end before the next one."
        )
    if what == "the same call with other observations" and said == "the same again":
        return f"The case of {what}: something changes each time, so it is no loop. Compare the pairs, not the calls."
    if what == "the same pair three times, some steps ago" and said == "the same again":
        return f"The case of {what}: look at the last steps only; this run has gone on."
    if what == "the same pair twice" and said == "the same again":
        return f"The case of {what}: that may happen; three in a row are the limit."
    if what.startswith("steps ") and said:
        same = "; D is the same call as A and sees something else" if "D" in what else ""
        return f"The case of {what} (each letter is a pair{same}): the run may go on, but yours says {said!r}."
    return f"The case of {what}: it should be {wanted!r}, but yours is {said!r}."


def _ending(change: Callable[[list, int, str | None], str | None]) -> Callable[[], Any]:
    """Return a function that makes a `must_end` from the steps, the limit and the right answer."""
    return lambda: lambda steps, most: change(steps, most, _reason(steps, most))


def _popping(steps: list, most: int) -> str | None:
    reason = _reason(steps, most)
    if steps:
        steps.pop()
    return reason


_DOG = Exercise(
    id="organiser_agent/dog",
    level="🐕",
    title="Stop a runaway",
    goal="Decide when an agent's run must end.",
    minutes=20,
    judge=_judge_end,
    hints=(
        "Three questions, in the order of the description; the first that says yes is the answer.",
        "`steps[-3:]` are the last three steps. Are there three, and are all of them equal?",
        "To and fro: the last is the third from the end, the one before it the fourth, and the two differ.",
        "A step is a pair: call and observation. The same call that sees something else is another step.",
    ),
    wrong=(
        (
            "more than allowed",
            _ending(lambda s, m, r: None if r == "too many steps" and len(s) == m else r),
            "it must end before the next one",
        ),
        (
            "calls only",
            _ending(
                lambda s, m, r: r or ("the same again" if len(s) > 2 and len({c for c, _ in s[-3:]}) == 1 else None)
            ),
            "Compare the pairs",
        ),
        (
            "anywhere",
            _ending(lambda s, m, r: r or ("the same again" if any(s.count(x) > 2 for x in s) else None)),
            "look at the last steps only",
        ),
        (
            "two are enough",
            _ending(lambda s, m, r: r or ("the same again" if len(s) > 1 and s[-1] == s[-2] else None)),
            "three in a row are the limit",
        ),
        (
            "any four that differ",
            _ending(
                lambda s, m, r: (
                    r or ("to and fro" if len(s) > 3 and all(s[-k] != s[-k - 1] for k in (1, 2, 3)) else None)
                )
            ),
            "steps A B C D",
        ),
        (
            "only the outer ones",
            _ending(lambda s, m, r: r or ("the same again" if len(s) > 2 and s[-1] == s[-3] else None)),
            "steps A B A (each",
        ),
        ("no to and fro", _ending(lambda s, m, r: None if r == "to and fro" else r), "to and fro: it should be"),
        (
            "other order",
            _ending(lambda s, m, r: "the same again" if len(s) > 2 and s[-1] == s[-2] == s[-3] else r),
            "two reasons at once",
        ),
        ("true", lambda: lambda s, m: _reason(s, m) is not None, "should be a text"),
        ("takes steps away", lambda: _popping, "changed the list"),
    ),
)

# --- 🦁 A better organiser ----------------------------------------------------------------------------------

_TRAININGS, _TASKS = 3, 50
_SHARES = ("baseline_done", "my_done", "baseline_harmed", "my_harmed")
_WHAT = dict.fromkeys(_SHARES, list) | {"tasks": int, "own_tasks": int, "train_ids": list}


def _judge_organiser(answer: Any) -> str | None:
    raw_results = expect(answer, dict, "results")
    # A share of harm of 0 is a fine result, and so are lists that hold it; only what is not filled in is "not yet".
    results = complete(raw_results, _WHAT)
    for name in _SHARES:
        shares(results, name, 1 if name.startswith("baseline") else _TRAININGS)
    if results["tasks"] < _TASKS:
        return f"{results['tasks']} tasks were asked: take all {_TASKS}."
    if results["own_tasks"] < 1:
        return "own_tasks should be the number of tasks with which you chose; the fifty are for the end."
    untested(results["train_ids"])
    for name in results["train_ids"]:
        if name.lower().startswith(("organiser-", "single-")):
            return f"You trained on a test task ({name[:20]}): it can test nothing now."
    enough(results["my_harmed"], "my_harmed", len(results["my_done"]))
    worst, best = min(results["my_done"]), max(results["baseline_done"])
    if worst <= best:
        return (
            f"Your worst training ({worst:.2f}) is not above the shipped adapter ({best:.2f}): "
            "the difference may be luck. Every training of yours must lie above it."
        )
    if max(results["my_harmed"]) > max(results["baseline_harmed"]):
        return "It does more, and it does more harm: weeks that should have stayed as they were changed more often."
    return None


_form = variants(
    {
        "baseline_done": [0.5],
        "my_done": [0.6, 0.58, 0.62],
        "baseline_harmed": [0.1],
        "my_harmed": [0.05, 0.1, 0.0],
        "tasks": 50,
        "own_tasks": 30,
        "train_ids": ["train-0001", "mine-1"],
    }
)


_LION = Exercise(
    id="organiser_agent/lion",
    level="🦁",
    title="A better organiser",
    goal="Do more of the fifty tasks than the adapter that ships, offline and without more harm.",
    minutes=120,
    judge=_judge_organiser,
    hints=(
        "Write thirty tasks of your own first, in your own words, and look at which kinds the shipped adapter fails. "
        "That table decides what to do.",
        "Traces teach what they show: add wordings and combinations of the kinds that fail. More steps of the same "
        "traces mostly teach the same again.",
        "A shorter observation is easier to copy from. Is there something in the tools' texts that the model need not "
        "read?",
        "A tool that does more saves steps: one that finds and moves in one call cannot mix up two numbers.",
    ),
    wrong=(
        ("two trainings", _form(my_done=[0.6, 0.62]), "has 2 of at least 3 seeds"),
        ("few tasks", _form(tasks=25), "25 tasks were asked"),
        ("chose on the test", _form(own_tasks=-1), "with which you chose"),
        ("trained on a task", _form(train_ids=["organiser-07"]), "trained on a test task (organiser-07)"),
        ("trained on a test message", _form(train_ids=["test-0003"]), "a test split (test-0003)"),
        ("one not above", _form(my_done=[0.7, 0.5, 0.7]), "worst training (0.50) is not above"),
        ("more harm", _form(my_harmed=[0.0, 0.3, 0.0]), "more harm"),
        ("harm of one only", _form(my_harmed=[0.0]), "has 1 of at least 3 seeds"),
        ("percent", _form(my_done=[60, 58, 62]), "looks like percent"),
        ("a part is missing", lambda: {"my_done": [0.6, 0.6, 0.6]}, "has no 'baseline_done'"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)

"""The exercises of the notebook vlm_usage: what seeing brings, and a time that suits several people.

The judges bring pictures of their own, which are plain names here, and answer the questions themselves: no model is
asked. They cannot know how well a real one would do.
"""

import re
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, Nearly, call, compared, expect, planted

# --- 🐢 Points above blind ----------------------------------------------------------------------------------

# Answers with the picture, with a grey sheet, and right ones. In the second, blind answers are right where seeing ones
# are not; in the third, two answers are alike; in the fourth and last, a blind model is better. Nearly all differ in
# what is right, seeing and blind.
_LISTS = (
    (["red", "2", "Yes", "left", "3"], ["blue", "2", "No", "right", "0"], ["red", "2", "Yes", "right", "3"]),
    (["3", "1", "2", "2", "0"], ["3", "1", "1", "1", "1"], ["3", "2", "1", "2", "0"]),
    (["Monday", "Friday", "Friday"], ["Monday", "Friday", "Monday"], ["Monday", "Friday", "Friday"]),
    (["No", "No", "No"], ["Yes", "Yes", "No"], ["Yes", "Yes", "Yes"]),
    (["1", "2", "3", "4", "5", "6", "7", "8"], ["1", "2", "3", "0", "0", "0", "0", "9"], list("12345609")),
    (["a", "b", "c"], ["c", "a", "b"], ["c", "b", "a"]),
    (["left", "top", "1", "2", "3", "4"], ["left", "top", "1", "2", "0", "0"], ["left", "low", "1", "2", "0", "0"]),
)
_Texts = list[str]


def _hits(said: _Texts, right: _Texts) -> int:
    return sum(a == b for a, b in zip(said, right, strict=True))


def _points(seen: _Texts, blind: _Texts, right: _Texts) -> float:
    return 100 * (_hits(seen, right) - _hits(blind, right)) / len(right)


def _from_counts(change: Callable[[int, int, int], float]) -> Callable[[_Texts, _Texts, _Texts], float]:
    """Return a mistaken function of three lists; change(right seeing, right blind, number of questions) computes it."""
    return lambda seen, blind, right: change(_hits(seen, right), _hits(blind, right), len(right))


_POINTS_MISTAKES: dict[str, Callable[[_Texts, _Texts, _Texts], float]] = {
    "That is a share from 0 to 1: give percentage points.": _from_counts(lambda sees, guesses, n: (sees - guesses) / n),
    "The wrong way round: right with the picture minus right without.": _from_counts(
        lambda sees, guesses, n: 100 * (guesses - sees) / n
    ),
    "This is never below zero: where fewer are right with the pictures, say so.": _from_counts(
        lambda sees, guesses, n: 100 * abs(sees - guesses) / n
    ),
    "This stops at zero: where fewer are right with the pictures, the points are below it.": _from_counts(
        lambda sees, guesses, n: 100 * max(0, sees - guesses) / n
    ),
    "This is the number of answers: divide by how many there are.": _from_counts(
        lambda sees, guesses, n: sees - guesses
    ),
    "This is the share right with the picture: take off what is right blind.": _from_counts(
        lambda sees, guesses, n: 100 * sees / n
    ),
    "This is the share right blind: it is taken off that with the picture.": _from_counts(
        lambda sees, guesses, n: 100 * guesses / n
    ),
    "This is how much of the blind share was added: points are a difference, not a ratio.": _from_counts(
        lambda sees, guesses, n: 100 * (sees - guesses) / (guesses or 1)
    ),
    "The points are rounded: leave them as they are.": _from_counts(
        lambda sees, guesses, n: round(100 * (sees - guesses) / n)
    ),
    "The points are cut to whole ones: leave them as they are.": _from_counts(
        lambda sees, guesses, n: 100 * (sees - guesses) // n
    ),
    "This counts the answers that differ between seeing and blind, right or not.": lambda seen, blind, right: (
        100 * (len(right) - _hits(seen, blind)) / len(right)
    ),
    "This counts what only seeing got right: blind answers that were right and became wrong count against it.": (
        lambda seen, blind, right: (
            100 * sum(s == r != b for s, b, r in zip(seen, blind, right, strict=True)) / len(right)
        )
    ),
}


def _judge_points(answer: Any) -> str | None:
    values = []
    for case in _LISTS:
        copies = [list(part) for part in case]
        value = expect(call(answer, *copies), (float, int), "what points_above_blind returns")
        values.append(Nearly(value))
        if copies != [list(part) for part in case]:
            return "Your function changed a list that it was given: look at it only."
    wanted = [_points(*case) for case in _LISTS]

    def say(place: int) -> str:
        seen, blind, right = _LISTS[place]
        counts = f"{_hits(seen, right)} of {len(right)} right seeing, {_hits(blind, right)} blind"
        return f"{counts}: that gives {wanted[place]:.1f}, but yours is {values[place]:.4g}."

    return compared(values, wanted, _LISTS, _POINTS_MISTAKES, say)


_TURTLE = Exercise(
    id="vlm_usage/turtle",
    level="🐢",
    title="Points above blind",
    goal="Say by how many percentage points seeing beats guessing.",
    minutes=5,
    judge=_judge_points,
    hints=(
        "Count what is right in each list of answers, against the same right answers.",
        "Divide the difference of the two counts by the number of questions.",
        "Percentage points: a share of 0.25 more is 25 points.",
    ),
    wrong=(
        *planted(_POINTS_MISTAKES),
        ("another", lambda: _from_counts(lambda sees, guesses, n: 100 * sees / n - guesses), "2 blind: that gives"),
        ("a text", lambda: lambda seen, blind, right: "25 points", "but it is a text"),
    ),
)


# --- 🐕 When can we meet? -----------------------------------------------------------------------------------

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_PARTS = ("morning", "afternoon", "evening")
_SLOTS = tuple((day, part) for day in _DAYS for part in _PARTS)
# Each person's busy slots by their number in the week. Their pictures are their names. In the first, each way to read
# an answer gives another list.
_GROUPS: tuple[dict[str, set[int]], ...] = (
    {"Ola's week": {1, 2, 3, 14}},
    {"Ana's week": {0, 1, 4, 5, 8, 11, 12}, "Raj's week": {2, 4, 6, 9}, "Mei's week": {0, 3, 7}},
    {"Ivo's week": set(range(0, 15, 2)), "Bea's week": set(range(1, 15, 2))},
)
# What the asked one says of a free slot and of a busy one; all of these are fair by the rules.
_FREE, _BUSY = (
    ("Yes", "yes.", " yes", "YES, it is", " Yes, all day"),
    ("No", "no", "I cannot see that.", "Maybe, yes", "Yet another meeting."),
)
_MOST_CALLS = 64


class _See:
    """Answers questions about a group's weeks, and remembers how it was asked."""

    __name__ = "see"  # as a message says it

    def __init__(self, group: dict[str, set[int]]) -> None:
        self.group, self.calls, self.asked = group, 0, []

    def __call__(self, images: Any, questions: Any) -> list[str]:
        self.calls += 1
        if self.calls > _MOST_CALLS:
            raise Mistake("`see` was called more than sixty times: put all questions into one call.")
        if type(images) is not list or type(questions) is not list:
            raise Mistake("`see` takes two lists: the pictures, and one question for each.")
        if len(images) != len(questions):
            raise Mistake(
                f"`see` got {len(images)} pictures and {len(questions)} questions: "
                "each question needs its own picture beside it."
            )
        return [
            self._say(place, image, text) for place, (image, text) in enumerate(zip(images, questions, strict=True))
        ]

    def _say(self, place: int, image: Any, text: Any) -> str:
        text = expect(text, str, "each question")
        if type(image) is not str or image not in self.group:
            raise Mistake("A question was asked about something that is not one of the weeks.")
        day = [day for day in _DAYS if re.search(day, text, re.IGNORECASE)]
        part = [part for part in _PARTS if re.search(part, text, re.IGNORECASE)]
        if len(day) != 1 or len(part) != 1:
            raise Mistake(f"Name one day and one part of it in each question; {text[:60]!r} does not.")
        if not re.search(r"\bfree\b", text, re.IGNORECASE) or re.search(r"\b(busy|not)\b", text, re.IGNORECASE):
            raise Mistake(f"Ask whether the slot is free, or yes will mean something else; you asked {text[:60]!r}.")
        slot = (day[0], part[0])
        self.asked.append((image, slot))
        busy = _SLOTS.index(slot) in self.group[image]
        return (_BUSY if busy else _FREE)[place % (len(_BUSY) if busy else len(_FREE))]


def _judge_meeting(answer: Any) -> str | None:
    for group in _GROUPS:
        see = _See(group)
        slots = expect(call(answer, list(group), see), list, "what common_free_slots returns")
        mistake = _call_mistake(see, group) or _slots_mistake(slots, group)
        if mistake:
            return mistake
    see = _See({})
    slots = expect(call(answer, [], see), list, "what it returns for no weeks")
    if see.calls or slots:
        return "Without any week there is nothing to ask and no slot to give: return an empty list."
    return None


def _call_mistake(see: _See, group: dict[str, set[int]]) -> str | None:
    if not see.calls:
        return "`see` was never called: the answers can only come from the pictures."
    if see.calls > 1:
        return f"`see` was called {see.calls} times: put all questions into one call, which is what a batch is for."
    missing = [(week, slot) for week in group for slot in _SLOTS if (week, slot) not in see.asked]
    if missing:
        week, (day, part) = missing[0]
        return f"Nobody asked about {day} {part} in {week}: ask every slot of every week, {len(group) * 15} in all."
    return None


def _slots_mistake(found: list[Any], group: dict[str, set[int]]) -> str | None:
    """What is wrong with the slots that were returned."""
    for slot in found:
        if type(slot) is not tuple or slot not in _SLOTS:
            return 'The list should hold tuples such as ("Monday", "morning"), with the names in DAYS and PARTS.'
    wanted = [slot for place, slot in enumerate(_SLOTS) if not any(place in busy for busy in group.values())]
    if found == wanted:
        return None
    weeks = [week for week in group for _ in _SLOTS]
    replies = _See(group)(weeks, [f"{day} {part} free?" for day, part in _SLOTS] * len(group))
    clear = [text.strip().lower().startswith("yes") for text in replies]
    known: dict[str, list[bool]] = {
        "These are the slots in which somebody is busy: wanted are those in which all are free.": [
            slot not in wanted for slot in _SLOTS
        ],
        "These are the slots in which at least one is free: all have to be.": [
            any(clear[place::15]) for place in range(15)
        ],
        "Only the first week counts in yours: all have to be free.": clear[:15],
        "Only the last week counts in yours: all have to be free.": clear[-15:],
        "The answers of different slots are put together: those about one slot stand fifteen places apart.": [
            all(clear[place * len(group) : (place + 1) * len(group)]) for place in range(15)
        ],
        **{message: _all_free([rule(text) for text in replies]) for message, rule in _READINGS.items()},
    }
    for message, free in known.items():
        if found == [slot for slot, here in zip(_SLOTS, free, strict=True) if here]:
            return message
    if sorted(found) == sorted(wanted):
        return "The right slots in another order: Monday morning first, Friday evening last."
    if len(set(found)) < len(found):
        return "A slot stands twice in the list: each comes once."
    day, part = next(slot for slot in _SLOTS if (slot in found) != (slot in wanted))
    truth = "all are free then" if (day, part) in wanted else "somebody is busy then"
    said_so = "is in your list" if (day, part) in found else "is not in your list"
    return f"For {', '.join(group)}: {day} {part} {said_so}, but {truth}."


_READINGS: dict[str, Callable[[str], bool]] = {
    'Anything but a clear yes means busy: "Maybe, yes" does not begin with yes.': lambda text: "yes" in text.lower(),
    "Anything that does not begin with yes means busy, not only what begins with no.": lambda text: (
        not text.strip().lower().startswith("no")
    ),
    "Large and small letters should not matter, and a text may begin with a space.": lambda text: text.startswith(
        "Yes"
    ),
    "Large and small letters should not matter.": lambda text: text.strip().startswith("Yes"),
    "A text may begin with a space: take that off before you look at how it begins.": lambda text: (
        text.lower().startswith("yes")
    ),
    "A text may go on behind its yes: ask how it begins.": lambda text: text.strip().lower().rstrip(".,!") == "yes",
}


def _all_free(free: list[bool]) -> list[bool]:
    return [all(free[place::15]) for place in range(15)]


def _meeting(**changed: Any) -> Callable[[], Any]:
    """A function that makes `common_free_slots`, some of whose parts are other than they should be."""

    def common_free_slots(weeks: list[Any], see: Any) -> list[Any]:
        if not weeks and not changed.get("empty"):
            return []
        texts = [changed.get("text", "Is {} {} free?").format(day, part) for day, part in _SLOTS]
        pictures = [week for week in weeks for _ in _SLOTS]
        if changed.get("one_by_one"):
            replies = [see([week], [text])[0] for week, text in zip(pictures, texts * len(weeks), strict=True)]
        else:
            replies = see(pictures, texts * changed.get("times", len(weeks)))
        is_free = changed.get("is_free", lambda text: text.strip().lower().startswith("yes"))
        free = [is_free(text) for text in replies]
        together = changed.get("together", all)
        slots = [slot for place, slot in enumerate(_SLOTS) if together(free[place::15])]
        return changed.get("last", list)(slots)

    return lambda: common_free_slots


_DOG = Exercise(
    id="vlm_usage/dog",
    level="🐕",
    title="When can we meet?",
    goal="Read several people's weeks in one batch and find when all are free.",
    minutes=20,
    judge=_judge_meeting,
    hints=(
        "Write down the fifteen slots first: two loops, days outside and parts inside, give their order.",
        "Each week is asked fifteen questions. So the list of pictures holds every week fifteen times in a row, and "
        "the list of questions repeats for each week.",
        "Texts differ in their manners: `text.strip().lower().startswith('yes')`.",
        "Every fifteenth answer is about the same slot: `free[place::15]`. All of these must be true.",
    ),
    wrong=(
        ("somebody", _meeting(together=any), "at least one is free"),
        ("inverted", _meeting(together=lambda free: not all(free)), "somebody is busy"),
        ("one by one", _meeting(one_by_one=True), "into one call, which is what a batch is for"),
        ("first week only", _meeting(times=1), "each question needs its own picture"),
        ("asks whether busy", _meeting(text="Is {} {} busy?"), "Ask whether the slot is free"),
        ("no part named", _meeting(text="Is {0} free?"), "Name one day and one part"),
        *((message, _meeting(is_free=way), message) for message, way in _READINGS.items()),
        ("first week", _meeting(together=lambda free: free[0]), "Only the first week counts"),
        ("last week", _meeting(together=lambda free: free[-1]), "Only the last week counts"),
        ("most", _meeting(together=lambda free: 2 * sum(free) > len(free)), "is in your list, but somebody is busy"),
        ("twice", _meeting(last=lambda slots: slots * 2), "A slot stands twice"),
        ("order", _meeting(last=lambda slots: sorted(slots)), "in another order"),
        ("texts", _meeting(last=lambda slots: [" ".join(slot) for slot in slots]), "should hold tuples"),
        ("asks about nothing", _meeting(empty=True), "nothing to ask"),
        ("never looks", lambda: lambda weeks, see: [_SLOTS[0]] if weeks else [], "never called"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

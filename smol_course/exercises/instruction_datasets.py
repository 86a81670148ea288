"""The exercises of the notebook instruction_datasets: slots, a verifier, and better data for the same steps.

The 🦁 is judged by the learner's own words in a dictionary: this module cannot know whether they measured it.
"""

import re
from collections.abc import Callable
from typing import Any

from smol_course.exercises import (
    Exercise,
    at_least,
    at_most,
    call,
    compared,
    complete,
    expect,
    planted,
    shares,
    untested,
    variants,
)

# --- 🐢 Slots -----------------------------------------------------------------------------------------------


def _event(title: str, day: str | None, start: str | None, place: str | None, *people: str) -> dict[str, Any]:
    return {"title": title, "day": day, "start": start, "place": place, "people": list(people)}


# Message, event, how day and start are written. The second has no place, the third no day and somebody in it.
_SLOTTED = (
    (
        "dentist Tue 9.40am, Harcourt St, bring x-rays",
        _event("dentist", "tuesday", "09:40", "Harcourt St"),
        {"day": "Tue", "start": "9.40am"},
    ),
    ("sat haircut 1115", _event("haircut", "saturday", "11:15", None), {"day": "sat", "start": "1115"}),
    ("tmrw 18:45 darts w/ Ben, Leys club", _event("darts", None, "18:45", "Leys club", "Ben"), {"start": "18:45"}),
)
_SLOTS = ("title", "day", "start", "place")


def _slots(message: str, event: dict, said: dict, fields: tuple[str, ...] = _SLOTS, mark: str = "{{{}}}") -> str:
    """Put a mark in the place of these fields, as the message writes them."""
    for field in fields:
        written = said.get(field, event[field]) if field in ("day", "start") else event[field]
        if field == "people":
            for name in event["people"]:
                message = message.replace(name, mark.format(field))
        elif written:
            message = message.replace(written, mark.format(field))
    return message


_SLOT_MISTAKES: dict[str, Callable[..., Any]] = {
    "People get a slot, too: leave their names as they are here.": lambda m, e, s: _slots(m, e, s, (*_SLOTS, "people")),
    "Day and start still stand there: look for them as `said` writes them, not as the event does.": lambda m, e, s: (
        _slots(m, e, {})
    ),
    "The title has no slot.": lambda m, e, s: _slots(m, e, s, ("day", "start", "place")),
    "The place has no slot.": lambda m, e, s: _slots(m, e, s, ("title", "day", "start")),
    "The start has no slot.": lambda m, e, s: _slots(m, e, s, ("title", "day", "place")),
    "The day has no slot.": lambda m, e, s: _slots(m, e, s, ("title", "start", "place")),
    "A slot stands in braces: {title}, not title.": lambda m, e, s: _slots(m, e, s, mark="{}"),
    "One brace at each side is enough: {title}, not {{title}}.": lambda m, e, s: _slots(m, e, s, mark="{{{{{}}}}}"),
    "The message came back as it was: put slots into it.": lambda m, e, s: m,
}


def _judge_slots(answer: Any) -> str | None:
    cases = [(message, dict(event), dict(said)) for message, event, said in _SLOTTED]
    values = [expect(call(answer, *case), str, "what with_slots returns") for case in cases]
    wanted = [_slots(*case) for case in _SLOTTED]
    return compared(
        values,
        wanted,
        _SLOTTED,
        _SLOT_MISTAKES,
        lambda i: f"{_SLOTTED[i][0]!r} should become {wanted[i]!r}, but yours is {values[i][:80]!r}.",
    )


_TURTLE = Exercise(
    id="instruction_datasets/turtle",
    level="🐢",
    title="Slots",
    goal="Make a template of a message by hand.",
    minutes=5,
    judge=_judge_slots,
    hints=(
        "`message.replace(old, new)` returns the message with one text in the place of another.",
        "Title and place stand in the message as the event has them; day and start as `said` has them.",
        "Ask first whether there is anything to replace: the place may be None, and `said` may lack the day.",
    ),
    wrong=planted(_SLOT_MISTAKES),
)

# --- 🐕 A verifier ------------------------------------------------------------------------------------------

_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()


def _said_days(message: str, full: bool = True, folded: bool = True, apart: bool = True) -> set[str]:
    text = message.lower() if folded else message
    forms = {form: day for day in _DAYS for form in ((day, day[:3]) if full else (day[:3],))}
    return {day for form, day in forms.items() if (re.search(rf"\b{form}\b", text) if apart else form in text)}


def _said_times(message: str, halves: bool = True, bare: bool = False) -> set[str]:
    times = set()
    for hour, minute, half in re.findall(r"\b(\d{1,2})(?:[.:](\d\d))?([ap]m)?\b", message.lower()):
        if half and halves:
            times.add(f"{int(hour) % 12 + 12 * (half == 'pm'):02d}:{minute or '00'}")
        elif minute or half or bare:
            times.add(f"{int(hour):02d}:{minute or '00'}")
    return times


def _follows(
    message: str,
    event: dict[str, Any] | None,
    checked: tuple[str, ...] = ("day", "start", "place", "people", "title"),
    invented: bool = True,
    whole: bool = True,
    null: str = "both",
    **reading: bool,
) -> bool:
    """The reference verifier; what is left out of ``checked``, or turned off, makes it a mistaken one."""
    days = _said_days(message, *(reading.get(name, True) for name in ("full", "folded", "apart")))
    times = _said_times(message, reading.get("halves", True), reading.get("bare", False))
    if event is None:
        return {"both": not (days and times), "either": not (days or times), "never": True, "no": False}[null]
    words = re.findall(r"[\w']+", message)
    small = [word.lower() for word in words]
    if reading.get("capitals", True):
        names = all(name in (words if whole else message) for name in event["people"])
    else:
        names = all(name.lower() in small for name in event["people"])

    def agrees(said: set[str], wanted: str | None) -> bool:
        return said == ({wanted} - {None}) if invented or wanted else True

    right = {
        "day": agrees(days, event["day"]),
        "start": agrees(times, event["start"]),
        "place": event["place"] is None or event["place"].lower() in message.lower(),
        "people": names,
        "title": all(word in small for word in event["title"].lower().split()),
    }
    return all(right[field] for field in checked)


_NOTE = "Choir practice FRI 7.30pm, St Chad's w/ Alan"
_CHOIR = _event("choir practice", "friday", "19:30", "St Chad's", "Alan")
_PAIRS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    (_NOTE, _CHOIR),
    ("vet Monday 16:20", _event("vet", "monday", "16:20", None)),
    ("lunch 12pm wed, canteen", _event("lunch", "wednesday", "12:00", "Canteen")),
    ("ferry 12.15am", _event("ferry", None, "00:15", None)),
    (_NOTE, _CHOIR | {"day": "saturday"}),
    (_NOTE, _CHOIR | {"day": None}),
    (_NOTE, _CHOIR | {"start": "07:30"}),
    (_NOTE, _CHOIR | {"start": None}),
    (_NOTE, _CHOIR | {"place": "town hall"}),
    (_NOTE, _CHOIR | {"people": ["Alan", "Bess"]}),
    (_NOTE, _CHOIR | {"people": ["Al"]}),
    (_NOTE, _CHOIR | {"title": "choir concert"}),
    ("milk, stamps, card for Hal", None),
    ("bins out sun", None),
    ("gig Sat 9pm", None),
    ("bins out sun", _event("bins", "sunday", "09:00", None)),
    ("bins out sun", _event("bins out", "sunday", None, None)),
    ("alarm 7pm", None),
    ("2 tickets, gig Sat 9pm", _event("gig", "saturday", "21:00", None)),
    ("gig Sat 9pm, 2 tickets", _event("gig", "saturday", "21:00", None)),
    ("2 tickets for sun", None),
    ("buy sunglasses 9:00", _event("sunglasses", None, "09:00", None)),
    ("walk with alan thu 8am", _event("walk", "thursday", "08:00", None, "Alan")),
    (_NOTE, _CHOIR | {"title": "chess practice"}),
    ("mon 9:00 gp", _event("GP", "monday", "09:00", None)),
    ("vet 16:20", _event("vet", "monday", "16:20", None)),
    *((f"Swim {day.title()} 19:00", _event("swim", day, "19:00", None)) for day in _DAYS),
    *((f"swim {day[:3].upper()} 19:00", _event("swim", day, "19:00", None)) for day in _DAYS),
)
_VERIFIER_MISTAKES: dict[str, Callable[..., Any]] = {
    "It looks at no day: another one passes.": lambda m, e: _follows(m, e, ("start", "place", "people", "title")),
    "It looks at no start: another one passes.": lambda m, e: _follows(m, e, ("day", "place", "people", "title")),
    "It looks at no place: one that nobody said passes.": lambda m, e: _follows(
        m, e, ("day", "start", "people", "title")
    ),
    "It looks at no people: somebody whom nobody named passes.": lambda m, e: _follows(
        m, e, ("day", "start", "place", "title")
    ),
    "It looks at no title: another one passes.": lambda m, e: _follows(m, e, ("day", "start", "place", "people")),
    "A day or time that the message says and the event leaves out must not pass.": lambda m, e: _follows(
        m, e, invented=False
    ),
    "7.30pm is not 07:30: add twelve hours in the afternoon (and none to 12pm).": lambda m, e: _follows(
        m, e, halves=False
    ),
    "Alan does not name Al: a person must stand there as a whole word.": lambda m, e: _follows(m, e, whole=False),
    "Days may be written in any case: FRI says friday.": lambda m, e: _follows(m, e, folded=False),
    "Days may be written in full: Monday says monday.": lambda m, e: _follows(m, e, full=False),
    "With None, a day alone or a time alone is no event: only both together are.": lambda m, e: _follows(
        m, e, null="either"
    ),
    "With None it always says True: a day and a time make an event.": lambda m, e: _follows(m, e, null="never"),
    "With None it always says False: a shopping list holds no event.": lambda m, e: _follows(m, e, null="no"),
    "A bare number is no time: 2 tickets say no start.": lambda m, e: _follows(m, e, bare=True),
    "A day is a word of its own: sunglasses say no day.": lambda m, e: _follows(m, e, apart=False),
    "A person must stand there with the capital: alan does not name Alan.": lambda m, e: _follows(m, e, capitals=False),
    "It says True to everything.": lambda m, e: True,
    "It says False to everything.": lambda m, e: False,
}


def _judge_follows(answer: Any) -> str | None:
    values = []
    for message, event in _PAIRS:
        copied = event and event | {"people": list(event["people"])}
        values.append(expect(call(answer, message, copied), bool, "what follows returns"))
    wanted = [_follows(*pair) for pair in _PAIRS]
    return compared(
        values,
        wanted,
        _PAIRS,
        _VERIFIER_MISTAKES,
        lambda i: f"{_PAIRS[i][0]!r} with {_PAIRS[i][1]} should be {wanted[i]}, but yours is {values[i]}.",
    )


_DOG = Exercise(
    id="instruction_datasets/dog",
    level="🐕",
    title="A verifier",
    goal="Write a verifier: does the event follow from the jotting?",
    minutes=20,
    judge=_judge_follows,
    hints=(
        "Write two small functions first: one that returns the set of days that a message says, one for its times.",
        'A set compares well: days said == {event["day"]} - {None} covers both "another day" and "none is said".',
        r"`re.findall(r'\b(\d{1,2})(?:[.:](\d\d))?([ap]m)?\b', message.lower())` finds hour, minutes and half. "
        "A number with neither minutes nor half is no time.",
        "12am is 0 and 12pm is 12: `int(hour) % 12 + (12 if half == 'pm' else 0)`.",
        r"Whole words: `re.findall(r'[\w\']+', message)` and then `name in words`.",
    ),
    wrong=planted(_VERIFIER_MISTAKES),
)

# --- 🦁 Better data, not more steps -------------------------------------------------------------------------

_SEEDS, _TEST, _READ, _VERIFIED, _LEAD = 3, 50, 100, 0.8, 0.05
_WHAT = {
    "baseline_accuracy": list,
    "my_accuracy": list,
    "test_messages": int,
    "baseline_rows": int,
    "my_rows": int,
    "records_read": int,
    "verified": float,
    "train_ids": list,
}


def _judge_data(answer: Any) -> str | None:
    results = complete(answer, _WHAT)
    for name in ("baseline_accuracy", "my_accuracy"):
        shares(results, name, _SEEDS)
    if results["test_messages"] < _TEST:
        return f"{results['test_messages']} test messages decide too little: measure on at least {_TEST}."
    for name in ("baseline_rows", "my_rows"):
        if results[name] < 1:
            return f"{name} should be steps times batch size of one run, but it is {results[name]}."
    if results["my_rows"] > results["baseline_rows"]:
        more = results["my_rows"] - results["baseline_rows"]
        return f"Your runs train on {more} rows more than the notebook's: better data, not more steps."
    untested(results["train_ids"])
    if results["records_read"] < _READ:
        return f"You read {results['records_read']} of your records: read at least {_READ}, drawn by chance."
    if not 0 <= results["verified"] <= 1:
        return f"verified is {results['verified']:.4g}, which is no share from 0 to 1."
    if not at_least(results["verified"], _VERIFIED):
        return f"Of the records that you read {results['verified']:.2f} were right: {_VERIFIED} is asked for."
    mean = sum(results["baseline_accuracy"]) / len(results["baseline_accuracy"])
    mine = sum(results["my_accuracy"]) / len(results["my_accuracy"])
    if at_most(min(results["my_accuracy"]), mean):
        return f"Your worst run ({min(results['my_accuracy']):.3f}) is not above the notebook's mean ({mean:.3f})."
    if not at_least(mine, mean + _LEAD):
        return f"Your mean is {mine - mean:.3f} above the notebook's: {_LEAD} is asked for, as less may be luck."
    return None


_form = variants(
    {
        "baseline_accuracy": [0.40, 0.42, 0.44],
        "my_accuracy": [0.52, 0.50, 0.54],
        "test_messages": 52,
        "baseline_rows": 400,
        "my_rows": 400,
        "records_read": 100,
        "verified": 0.93,
        "train_ids": ["jotting-0001", "mine-0001"],
    }
)

_LION = Exercise(
    id="instruction_datasets/lion",
    level="🦁",
    title="Better data, not more steps",
    goal="Make better data from the same fifty, and beat the notebook's filtered arm at the same steps.",
    minutes=120,
    judge=_judge_data,
    hints=(
        "Read a hundred of the filtered records first. What do the fifty do that none of them does? Make that.",
        "Look at what the filtered arm gets wrong on jottings of your own, field by field (`field_outcomes` of "
        "smol_course.metrics). Make records for that field.",
        "The verifier refuses what is crossed out and what is short. Let more through that is right, by a rule of its "
        "own, and put less of the easy ones in.",
        "The mixture is a setting as well: how often the fifty come, and how much of each origin.",
    ),
    wrong=(
        ("two seeds", _form(my_accuracy=[0.5, 0.6]), "has 2 of at least 3 seeds"),
        ("few test messages", _form(test_messages=40), "40 test messages decide too little"),
        ("more rows", _form(my_rows=800), "400 rows more than"),
        ("no rows", _form(baseline_rows=-1), "baseline_rows should be steps times"),
        ("trained on a test message", _form(train_ids=["hard-0003"]), "a test split (hard-0003)"),
        ("not read", _form(records_read=10), "You read 10 of your records"),
        ("percent", _form(my_accuracy=[52, 50, 54]), "looks like percent"),
        ("verified in percent", _form(verified=93.0), "which is no share"),
        ("many wrong records", _form(verified=0.6), "0.60 were right"),
        ("one run too low", _form(my_accuracy=[0.7, 0.41, 0.7]), "Your worst run (0.410)"),
        ("a small lead", _form(my_accuracy=[0.45, 0.44, 0.46]), "Your mean is 0.030 above"),
        ("a part is missing", lambda: {"my_accuracy": [0.5, 0.6, 0.7]}, "has no 'baseline_accuracy'"),
    ),
)

EXERCISES = (_TURTLE, _DOG, _LION)

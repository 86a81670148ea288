"""Tool-call traces to train on: tasks made by rules, solved by rules on a real calendar, and checked by running them.

Each trace is a conversation as the agent has it: the task, then a call, what the tool said, the next call, up to the
final answer. The same task gives a trace of JSON calls and a code action; both are run, and a task on which they do
not end in the same calendar with the same words is a mistake here and raises. A part of the tasks are the course's own
training messages, so that not everything is a template. Names of people begin with A to M, as in the training half of
the messages; held-out tasks use N to Z.

What it does not know: how people really ask. Its wordings are few, and one author's.
"""

import json
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from smol_course.agents.calendar import MINUTES, Calendar, minute_of, time_of
from smol_course.agents.tools import FINAL, Guard, Toolbox, as_text, called
from smol_course.metrics import WEEKDAYS

# ChatML as the model has it, with marks around what the model writes: TRL takes the loss there and nowhere else.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{{ '\n' }}{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TITLES = tuple(
    "dentist|gym|lunch|dinner|haircut|choir practice|team meeting|yoga|book club|swimming lesson|parents' evening|"
    "piano lesson|budget review|eye test|coffee|badminton|physio|cinema|driving lesson|car service|vet appointment|"
    "job interview|garden tour|flat viewing|chess club|board meeting|football match|drinks|birthday party|blood test|"
    "language class|brunch|school play|phone call|project kickoff|dance class|boiler check|photo shoot|bike repair|"
    "rehearsal|barbecue|exam|walk|tax advice|first aid course|handball training|sprint planning|guitar lesson".split(
        "|"
    )
)
PEOPLE = tuple(
    "Ana|Ben|Clara|Dr Engel|Emil|Farah|Grace|Hugo|Ines|Jonas|Kim|Leo|Mia|Aunt Dora|Bruno|Carla|Dev|Elif|Finn|Greta|"
    "Mr Hill|Imran|Jana|Kofi|Lena|Marek|Mrs Gupta|Ada|Bea|Chidi".split("|")
)
PLACES = tuple(
    "Luna|the Anchor|Cedar Hospital|room 12|the canteen|Birch Hall|Cafe Arno|the library|Elm Clinic|Zoom|the park|"
    "Harbour Gym|City Pool|Gate 4|my place|the town hall|Kino Delta|Hill School|the office|Bar Celona".split("|")
)
_SHORT = dict(zip(WEEKDAYS, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), strict=True))
_HOURS = "twelve one two three four five six seven eight nine ten eleven".split()

Call = tuple[str, dict[str, Any]]
Plan = Generator[Call, Any, str]


@dataclass(frozen=True)
class Task:
    """A task with its solution: what is in the calendar before, what is asked, a plan of calls, the same as code."""

    kind: str
    before: list[dict[str, Any]]
    message: str
    plan: Callable[[], Plan]
    code: str


# --- Words --------------------------------------------------------------------------------------------------


def _day(chance: random.Random, day: str) -> str:
    return chance.choice((day.title(), day.title(), day.title(), day, _SHORT[day], _SHORT[day].lower(), day.upper()))


def _time(chance: random.Random, start: str) -> str:
    """One of the ways to say a time."""
    hour, minute = int(start[:2]), start[3:]
    half = "am" if hour < 12 else "pm"
    twelve = f"{hour % 12 or 12}{'' if minute == '00' else chance.choice('.:') + minute}"
    ways = [start, start, f"{twelve} {half}", f"{twelve}{half}", f"{hour}:{minute}"]
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    if minute == "00":
        ways += [f"{hour}h", f"{_HOURS[hour % 12]} {part}"] + (["noon"] if hour == 12 else [])
    if minute == "30":
        ways += [f"half past {_HOURS[hour % 12]} {part}"]
    return chance.choice(ways)


def _start(chance: random.Random) -> str:
    return time_of(chance.randrange(7 * 60, 22 * 60, 15) if chance.random() < 0.6 else chance.randrange(7, 22) * 60)


def _names(people: Sequence[str]) -> str:
    return " and ".join(people)


def _event(chance: random.Random, title: str | None = None) -> dict[str, Any]:
    people = chance.sample(PEOPLE, chance.choice((0, 0, 1, 1, 1, 2)))
    return {
        "title": title or chance.choice(TITLES),
        "day": chance.choice(WEEKDAYS),
        "start": _start(chance),
        "place": chance.choice(PLACES) if chance.random() < 0.5 else None,
        "people": people,
    }


def _clear_of(event: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    """Whether an event overlaps none of the others, and shares no word with their titles, people and places."""
    for other in others:
        apart = abs(minute_of(event["start"]) - minute_of(other["start"]))
        if (event["day"] == other["day"] and apart < MINUTES) or _own_words(event) & _own_words(other):
            return False
    return True


def _own_words(event: dict[str, Any]) -> set[str]:
    return set(" ".join([event["title"], event["place"] or "", *event["people"]]).casefold().split()) - {"the", "my"}


def _week(chance: random.Random, size: int, besides: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Some events in any order, clear of each other and of those besides."""
    week: list[dict[str, Any]] = []
    while len(week) < size:
        event = _event(chance)
        if _clear_of(event, [*week, *besides]):
            week.append(event)
    return week


def _said(chance: random.Random, event: dict[str, Any]) -> str:
    """A message from which the event follows."""
    day, time, title = _day(chance, event["day"]), _time(chance, event["start"]), event["title"]
    place = chance.choice((f" at {event['place']}", f", {event['place']}", f" in {event['place']}"))
    place = place if event["place"] else ""
    people = chance.choice((f" with {_names(event['people'])}", f" with {_names(event['people'])} too"))
    people = people if event["people"] else ""
    return chance.choice(
        (
            f"{title}{people} on {day} at {time}{place}",
            f"{title.capitalize()}, {day} {time}{place}{people}",
            f"Put {title} in for {day}, {time}{place}{people}.",
            f"please add {title}{people} {day} {time}{place}",
            f"Can you note {title}{people} on {day}, {time}{place}?",
            f"{day} {time} {title}{place}{people}",
            f"I have {title} at {time} on {day}{place}{people}",
            f"Remember {title} on {day} at {time}{place}{people}!",
            f"New: {title}{place}, {day}, {time}{people}",
            f"There is {title} this {day} at {time}{place}{people}.",
        )
    )


# --- Plans and code -----------------------------------------------------------------------------------------


def _literal(value: Any) -> str:
    return "None" if value is None else json.dumps(value, ensure_ascii=False)


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    """What add_event gets: fields that are empty are left out."""
    kept = {"title": event["title"], "day": event["day"], "start": event["start"]}
    return kept | {name: event[name] for name in ("place", "people") if event.get(name)}


def _add_code(event: dict[str, Any]) -> str:
    values = [_literal(event[name]) for name in ("title", "day", "start")]
    if event.get("place"):
        values.append(_literal(event["place"]))
    if event.get("people"):
        values.append(("" if event.get("place") else "people=") + _literal(event["people"]))
    return f"add_event({', '.join(values)})"


def _one(name: str, **arguments: Any) -> Callable[[], Plan]:
    """The plan of one call, whose result is the answer."""

    def plan() -> Plan:
        return as_text((yield name, arguments))

    return plan


def _say(text: str) -> Callable[[], Plan]:
    def plan() -> Plan:
        return text
        yield  # a plan without a call

    return plan


def _then(text: str, call: Callable[[dict[str, Any]], Call]) -> Callable[[], Plan]:
    """The plan: find the event, then make a call with it."""

    def plan() -> Plan:
        events = yield "find_events", {"text": text}
        if not events:
            return "nothing found"
        return as_text((yield call(events[0])))

    return plan


def _found_code(text: str, call: str) -> str:
    return f'e = find_events({_literal(text)})\nfinal_answer({call} if e else "nothing found")'


# --- Kinds of tasks -----------------------------------------------------------------------------------------


def _adds(chance: random.Random, event: dict[str, Any], message: str, clash: bool) -> Task:
    before = _week(chance, chance.randrange(2, 5), [event])
    if clash:
        shift = chance.choice((0, 0, -30, 30, 15, -45))
        minute = min(max(minute_of(event["start"]) + shift, 0), 23 * 60)
        before.insert(0, _week(chance, 1, [*before, event])[0] | {"day": event["day"], "start": time_of(minute)})
        before = [meeting for meeting in before[1:] if _clear_of(meeting, before[:1])] + before[:1]
        chance.shuffle(before)
    code = f"final_answer({_add_code(event)})"
    return Task("clash" if clash else "add", before, message, _one("add_event", **_arguments(event)), code)


def _add(chance: random.Random) -> Task:
    event = _event(chance)
    return _adds(chance, event, _said(chance, event), clash=False)


def _clash(chance: random.Random) -> Task:
    event = _event(chance)
    return _adds(chance, event, _said(chance, event), clash=True)


def _otherwise(chance: random.Random) -> Task:
    """A second time, should the first be taken; it is taken in two of three tasks."""
    event = _event(chance) | {"start": chance.choice(("09:00", "11:00", "14:00", "16:00", "18:00"))}
    task = _adds(chance, event, "", clash=chance.random() < 0.67)
    later = event | {"start": time_of(minute_of(event["start"]) + 120)}
    before = [meeting for meeting in task.before if _apart(meeting, later)]
    time = _time(chance, later["start"])
    more = (f" If that is taken, {time}.", f" Or at {time} if something is there already.", f" Else {time}.")
    message = f"{_said(chance, event).rstrip('.!?')}.{chance.choice(more)}"

    def plan() -> Plan:
        said = yield "add_event", _arguments(event)
        if said.startswith("refused"):
            said = yield "add_event", _arguments(later)
        return said

    code = f'r = {_add_code(event)}\nif r.startswith("refused"):\n    r = {_add_code(later)}\nfinal_answer(r)'
    return Task("otherwise", before, message, plan, code)


def _apart(event: dict[str, Any], other: dict[str, Any]) -> bool:
    return event["day"] != other["day"] or abs(minute_of(event["start"]) - minute_of(other["start"])) >= MINUTES


def _two(chance: random.Random) -> Task:
    first, second = _week(chance, 2)
    before = _week(chance, 2, [first, second])
    message = chance.choice((" and ", ", and then ", "; also ")).join(
        _said(chance, each).rstrip(".!?") for each in (first, second)
    )

    def plan() -> Plan:
        yield "add_event", _arguments(first)
        return (yield "add_event", _arguments(second))

    return Task("two", before, message, plan, f"{_add_code(first)}\nfinal_answer({_add_code(second)})")


def _free_hour(chance: random.Random) -> Task:
    event = _event(chance) | {"place": None, "people": []}
    before = _week(chance, 4, [])
    before = [meeting | {"day": event["day"]} if i < 2 else meeting for i, meeting in enumerate(before)]
    before = [meeting for i, meeting in enumerate(before) if all(_apart(meeting, other) for other in before[:i])]
    day = _day(chance, event["day"])
    message = chance.choice(
        (
            f"Put {event['title']} into the first free hour on {day}.",
            f"Find a free hour on {day} for {event['title']} and book it",
            f"{event['title']} on {day}, as early as there is room",
        )
    )

    def plan() -> Plan:
        slots = yield "free_slots", {"day": event["day"]}
        return (yield "add_event", _arguments(event | {"start": slots[0][:5]}))

    call = f'add_event({_literal(event["title"])}, "{event["day"]}", s[0][:5])'
    code = f's = free_slots("{event["day"]}")\nfinal_answer({call})'
    return Task("free hour", before, message, plan, code)


def _listed(chance: random.Random) -> Task:
    before, day = _week(chance, chance.randrange(2, 6)), chance.choice(WEEKDAYS)
    if chance.random() < 0.8:
        day = before[0]["day"]
    name = _day(chance, day)
    message = chance.choice(
        (
            f"What's on {name}?",
            f"what do I have on {name}",
            f"Anything on {name}?",
            f"Show me {name}",
            f"Tell me my plans for {name}.",
            f"How does {name} look?",
        )
    )
    return Task("list", before, message, _one("list_events", day=day), f'final_answer(list_events("{day}"))')


def _counted(chance: random.Random) -> Task:
    before = _week(chance, chance.randrange(2, 5))
    day = chance.choice(before)["day"]
    name = _day(chance, day)
    message = chance.choice((f"How many things are on {name}?", f"how many appointments do I have on {name}"))

    def plan() -> Plan:
        return str(len((yield "list_events", {"day": day})))

    return Task("count", before, message, plan, f'final_answer(len(list_events("{day}")))')


def _free(chance: random.Random) -> Task:
    before = _week(chance, chance.randrange(2, 5))
    day = chance.choice((before[0]["day"], chance.choice(WEEKDAYS)))
    name = _day(chance, day)
    message = chance.choice(
        (
            f"When am I free on {name}?",
            f"free time on {name}?",
            f"Where is there room on {name}?",
            f"Which hours are still open on {name}?",
        )
    )
    return Task("free", before, message, _one("free_slots", day=day), f'final_answer(free_slots("{day}"))')


def _called(chance: random.Random, event: dict[str, Any]) -> str:
    """A word or two by which the event is meant: its title, or a part of it."""
    words = event["title"].split()
    return chance.choice((event["title"], event["title"], words[0] if len(words[0]) > 3 else event["title"]))


def _asked(chance: random.Random) -> Task:
    before = _week(chance, chance.randrange(2, 5))
    event = chance.choice(before)
    text = _called(chance, event)
    ways = [f"When is {text}?", f"when's my {text}", f"What time is the {text}?", f"on which day is {text}?"]
    ways += [f"Where is {text}?", f"where do I go for {text}"] if event["place"] else []
    ways += [f"Who comes to {text}?", f"Who is at {text} with me?"] if event["people"] else []
    message = chance.choice(ways)
    if event["people"] and chance.random() < 0.4:
        text = event["people"][0]
        ways = [f"When do I see {text}?", f"what have I planned with {text}", f"Where do I meet {text}?"]
        message = chance.choice(ways)
    return Task("ask", before, message, _one("find_events", text=text), f"final_answer(find_events({_literal(text)}))")


def _target(chance: random.Random) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """A week, one of its events, and what it is called; now and then one that is not there."""
    before = _week(chance, chance.randrange(3, 6))
    event = chance.choice(before)
    if chance.random() < 0.12:
        before.remove(event)
    return before, event, _called(chance, event)


def _cancel(chance: random.Random) -> Task:
    before, _, text = _target(chance)
    message = chance.choice(
        (
            f"Cancel {text}.",
            f"please cancel the {text}",
            f"The {text} is off",
            f"{text} won't happen, take it out",
            f"Delete my {text}",
            f"I can't make {text}, remove it please.",
        )
    )
    plan = _then(text, lambda event: ("cancel_event", {"id": event["id"]}))
    return Task("cancel", before, message, plan, _found_code(text, 'cancel_event(e[0]["id"])'))


def _move(chance: random.Random) -> Task:
    before, event, text = _target(chance)
    day, start, how = chance.choice(WEEKDAYS), _start(chance), chance.choice(("both", "both", "time", "day"))
    name, time = _day(chance, day), _time(chance, start)
    if how == "both":
        ways = (f"Move {text} to {name} at {time}", f"{text} is now on {name}, {time}", f"{text} to {name} {time}!")
    elif how == "time":
        ways = (f"Move {text} to {time}, same day", f"{text} now starts at {time}", f"make {text} at {time} instead")
    else:
        ways = (f"Move {text} to {name}, same time", f"Push {text} to {name}", f"{text} on {name} instead, as late")
    wanted = {"both": (f'"{day}"', f'"{start}"'), "time": ('e[0]["day"]', f'"{start}"')}
    in_code = wanted.get(how, (f'"{day}"', 'e[0]["start"]'))

    def call(event: dict[str, Any]) -> Call:
        to_day, to_start = (
            (event["day"] if how == "time" else day),
            (event["start"] if how == "day" else start),
        )
        return "move_event", {"id": event["id"], "day": to_day, "start": to_start}

    code = _found_code(text, f'move_event(e[0]["id"], {in_code[0]}, {in_code[1]})')
    return Task("move", before, chance.choice(ways), _then(text, call), code)


def _clear(chance: random.Random) -> Task:
    day = chance.choice(WEEKDAYS)
    before = _week(chance, chance.randrange(3, 5))
    before = [meeting | {"day": day} if i < 2 else meeting for i, meeting in enumerate(before)]
    before = [meeting for i, meeting in enumerate(before) if all(_apart(meeting, other) for other in before[:i])]
    name = _day(chance, day)
    message = chance.choice((f"Clear {name}.", f"cancel everything on {name}", f"I am ill on {name}, take it all out"))

    def plan() -> Plan:
        for event in (yield "list_events", {"day": day}):
            yield "cancel_event", {"id": event["id"]}
        return f"cleared {day}"

    code = f'for e in list_events("{day}"):\n    cancel_event(e["id"])\nfinal_answer("cleared {day}")'
    return Task("clear", before, message, plan, code)


def of_message(chance: random.Random, row: dict[str, Any]) -> Task | None:
    """Return the task of one of the course's messages (``message``, and ``event`` as a dictionary or None).

    Without a day or a start there is something to ask; without an event, nothing to do. None for a message that is too
    long to train on here, or whose event does not fit into a day.
    """
    event, message = row["event"], row["message"]
    if len(message.split()) > 45:
        return None
    if event is None:
        text = "nothing to note"
    elif event["day"] is None and event["start"] is None:
        text = "on which day, and at what time?"
    elif event["day"] is None:
        text = "on which day?"
    elif event["start"] is None:
        text = "at what time?"
    elif minute_of(event["start"]) > 23 * 60 or max(map(len, [event["title"], event["place"] or ""])) > 60:
        return None
    else:
        return _adds(chance, event, message, clash=chance.random() < 0.15)
    kind = "nothing" if event is None else "ask back"
    return Task(kind, _week(chance, 3), message, _say(text), f"final_answer({_literal(text)})")


# How often each kind comes, beside the course's messages.
KINDS: dict[Callable[[random.Random], Task], int] = {
    _add: 8,
    _clash: 8,
    _otherwise: 9,
    _two: 5,
    _free_hour: 7,
    _listed: 8,
    _counted: 3,
    _free: 6,
    _asked: 10,
    _cancel: 12,
    _move: 16,
    _clear: 6,
}
SINGLE = (_add, _clash, _listed, _free, _asked)  # one call, and the answer


# --- Traces -------------------------------------------------------------------------------------------------


def traces(
    count: int,
    form: str,
    prompt: str,
    seed: int = 0,
    messages: Sequence[dict[str, Any]] = (),
    share: float = 0.4,
    single: bool = False,
) -> list[dict[str, Any]]:
    """Return so many traces: ``kind``, and ``messages``, a conversation for TRL's trainer.

    Args:
        count: how many.
        form: "json" or "code".
        prompt: the system message.
        seed: decides all that is left to chance.
        messages: the course's own, with ``message`` and ``event`` as a dictionary or None.
        share: of the traces that come from those messages.
        single: only tasks that need one call.

    Raises ValueError for another form.
    """
    if form not in ("json", "code"):
        raise ValueError(f"there are traces of the forms json and code, not {form!r}")
    chance = random.Random(seed)
    kinds = {kind: 1 for kind in SINGLE} if single else KINDS
    pool = list(messages)
    chance.shuffle(pool)
    made: list[dict[str, Any]] = []
    while len(made) < count:
        task = None
        if pool and chance.random() < share:
            task = of_message(chance, pool[len(made) % len(pool)])
        task = task or chance.choices(list(kinds), list(kinds.values()))[0](chance)
        made.append(_trace(task, form, prompt))
    return made


def _trace(task: Task, form: str, prompt: str) -> dict[str, Any]:
    """Solve the task both ways, compare, and return the wanted one as a conversation."""
    turns, said, calendar = _by_calls(task)
    in_code, calendar_too = _by_code(task)
    if said != in_code or calendar != calendar_too:
        raise AssertionError(f"{task.kind}: {task.message!r} ends in {said!r} by calls and in {in_code!r} by code")
    asked = [{"role": "system", "content": prompt}, {"role": "user", "content": task.message}]
    answer = [{"role": "assistant", "content": task.code}] if form == "code" else turns
    return {"kind": task.kind, "messages": asked + answer}


def _by_calls(task: Task) -> tuple[list[dict[str, str]], str, list[str]]:
    """Follow the plan with the real tools: the turns, the answer, and the calendar then."""
    calendar, guard = Calendar.of(task.before), Guard(most_changes=None, most_repeats=None)
    functions = {function.__name__: function for function in Toolbox(calendar).functions()}
    plan, turns, value = task.plan(), [], None
    while True:
        try:
            name, arguments = plan.send(value)
        except StopIteration as end:
            turns.append(_turn(FINAL, {"answer": end.value}))
            return turns, end.value, list(map(str, calendar.events()))
        turns.append(_turn(name, arguments))
        value = called(guard, functions[name], arguments)
        turns.append({"role": "tool", "content": as_text(value)})


def _turn(name: str, arguments: dict[str, Any]) -> dict[str, str]:
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return {"role": "assistant", "content": call}


def _by_code(task: Task) -> tuple[str, list[str]]:
    """Run our own code with the same tools: the answer, and the calendar then."""
    calendar, guard, said = Calendar.of(task.before), Guard(most_changes=None, most_repeats=None), []

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        names = list(function.__annotations__)

        def call(*values: Any, **named: Any) -> Any:
            return called(guard, function, dict(zip(names, values, strict=False)) | named)

        return call

    space = {function.__name__: guarded(function) for function in Toolbox(calendar).functions()}
    exec(task.code, space | {FINAL: lambda answer: said.append(as_text(answer))})
    return said[0], list(map(str, calendar.events()))

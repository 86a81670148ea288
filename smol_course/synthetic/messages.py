"""Making messages for the organiser: templates learnt from seeds, checks that an event follows, duplicates and leaks.

A *record* is a dictionary: ``id``, ``origin`` (how it came to be), ``message``, ``event`` (its JSON text) and whatever
else its maker notes. The checks are strict on purpose: what they cannot be sure of is a fault. They cannot see whether
a note is one that a person would write.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smol_course.data import conversation
from smol_course.errors import CourseError
from smol_course.files import write_text, writing
from smol_course.metrics import FIELDS, TITLE_F1, WEEKDAYS, parse_event
from smol_course.synthetic.shorthand import (
    CLOCKS,
    day_words,
    days_said,
    manner_of_day,
    manner_of_time,
    times_said,
    write_day,
)

if TYPE_CHECKING:
    import numpy

WRITE_PROMPT = "Write a {register} about this event."
SELF_PROMPT = "You write short notes and the calendar event that follows from each."
PERSONAS = (
    "a nurse on nights",
    "a head teacher",
    "a plumber",
    "a student who shares a flat",
    "a drummer in a band",
    "a grandmother with an allotment",
    "a football coach",
    "a parish clerk",
    "a chef",
    "a new father",
    "a vet",
    "an architect",
)
# Longer and shorter forms of words in notes; a title is in the words of its message, so both change.
SHORT_FORMS = {
    "meeting": "mtg",
    "appointment": "appt",
    "birthday": "bday",
    "practice": "prac",
    "committee": "cttee",
    "conference": "conf",
    "breakfast": "bfast",
    "school": "sch",
    "room": "rm",
    "department": "dept",
    "session": "sess",
    "lesson": "lsn",
    "training": "trng",
    "interview": "intvw",
    "dinner": "dnr",
    "station": "stn",
    "centre": "ctr",
    "hospital": "hosp",
    "garden": "gdn",
    "with": "w/",
    "and": "&",
}
_START = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
# Words that belong to no field and say nothing about one.
_SMALL = set(
    "a an the at in on with w and re for to of by our my is are be from til till until then us me @ & + start sharp"
    " o'clock am pm noon midday midnight half past quarter morning afternoon evening night"
    " tomorrow tmrw today tonight".split()
)
_MOST_LEFT = 5  # words of a note that no field explains: more may hide another event


# --- Does the event follow from the message? ----------------------------------------------------------------


def sound_event(text: str) -> bool:
    """Say whether a text is the JSON of an event of the schema, or ``null``: all five fields, each of its kind."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if event is None:
        return True
    if not isinstance(event, dict) or tuple(event) != FIELDS or not isinstance(event["people"], list):
        return False
    texts = [event["title"], *event["people"], *([event["place"]] if event["place"] is not None else [])]
    return (
        all(isinstance(text, str) and text.strip() for text in texts)
        and (event["day"] is None or event["day"] in WEEKDAYS)
        and (event["start"] is None or (isinstance(event["start"], str) and bool(_START.fullmatch(event["start"]))))
    )


def event_faults(message: str, event: str, also: Iterable[str] = ()) -> list[str]:
    """Return what speaks against the event (JSON text) following from the message, as short names; [] for nothing.

    Days and times that the message says must be exactly the event's; place, people and half of the title's words
    must stand in it; no name, no "@ somewhere" and at most five other words may be left over. ``also`` are days and
    times that the message is known to mention beside the right ones, as a correction does.
    """
    if not sound_event(event):
        return ["no event of the schema"]
    wanted = json.loads(event)
    days, times = days_said(message) - set(also), times_said(message) - set(also)
    if wanted is None:
        return ["an event is said"] if days and times else []
    faults = _said("day", days, wanted["day"]) + _said("start", times, wanted["start"])
    words = _words(message)
    title = _words(wanted["title"])
    if sum(word in words for word in title) < TITLE_F1 * len(title):
        faults.append("title not said")
    if wanted["place"] is not None and not _stands(wanted["place"], message):
        faults.append("place not said")
    if not all(_stands(name, message) for name in wanted["people"]):
        faults.append("person not said")
    return faults + _left_over(message, wanted)


def _said(field: str, said: set[str], wanted: str | None) -> list[str]:
    """Compare the days or times of a message with the event's."""
    if said - {wanted}:
        return [f"another {field} said"]
    return [f"{field} not said"] if wanted and not said else []


def _words(text: str) -> list[str]:
    """The words of a text, without case and possessive: "Lola's" says Lola."""
    return [re.sub(r"['’]s$", "", word) for word in re.findall(r"[\w'’]+|[@&+]", text.casefold())]


def _stands(phrase: str, message: str) -> bool:
    """Whether the phrase stands in the message, case, punctuation and a leading article aside."""
    bare = [word for word in _words(phrase) if word not in ("the", "a", "an")]
    return bool(bare) and f" {' '.join(bare)} " in f" {' '.join(_words(message))} "


def _left_over(message: str, event: dict[str, Any]) -> list[str]:
    """Faults that the words make which no field explains."""
    explained = set(_SMALL)
    for phrase in (event["title"], event["place"], *event["people"]):
        explained |= set(_words(phrase or ""))
    text = _without_days(message)
    left = [
        match
        for match in re.finditer(r"[\w'’]+", text)
        if not set(_words(match[0])) <= explained and not re.match(r"\d", match[0])
    ]
    faults = []
    if any(re.fullmatch(r"[A-Z][a-zà-ÿ'’]+", match[0]) and match.start() > 0 for match in left):
        faults.append("a name left over")
    if event["place"] is None and any(re.search(r"(@|\bat)\s*$", text[: match.start()], re.I) for match in left):
        faults.append("a place left over")
    return faults + (["too much left over"] if len(left) > _MOST_LEFT else [])


def _without_days(message: str) -> str:
    for _, start, end in reversed(day_words(message)):
        message = message[:start] + " " + message[end:]
    return message


# --- Templates ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """A seed with slots for its fields. ``joiner`` stands between people; day and time are the seed's manner."""

    text: str
    fields: frozenset[str]
    joiner: str
    day: tuple[int, str] | None
    clock: str | None


def template_of(message: str, event: str) -> Template | None:
    """Return the template of a message, or None where the event does not follow or a field stands there twice.

    Every field of the event becomes a slot such as ``{title}``; the rest of the message stays.
    """
    wanted = json.loads(event)
    if wanted is None or event_faults(message, event) or "{" in message or "}" in message:
        return None
    spans: dict[str, tuple[int, int]] = {}
    for field in ("title", "place"):
        if wanted[field] is not None:
            spans[field] = _only(wanted[field], message)
    joiner = ", "
    if wanted["people"]:
        places = [_only(name, message) for name in wanted["people"]]
        spans["people"] = (places[0][0], places[-1][1])
        if len(places) > 1:
            joiner = message[places[0][1] : places[1][0]]
    if wanted["day"] is not None:
        named = day_words(message)
        spans["day"] = named[0][1:] if len(named) == 1 else (-1, -1)
    clock = None
    if wanted["start"] is not None:
        spans["start"], clock = _time_span(message, wanted["start"])
    if any(start < 0 for start, _ in spans.values()) or _overlap(spans.values()):
        return None
    day = manner_of_day(message[slice(*spans["day"])]) if "day" in spans else None
    text = message
    for field, (start, end) in sorted(spans.items(), key=lambda item: -item[1][0]):
        text = f"{text[:start]}{{{field}}}{text[end:]}"
    rest = re.sub(r"\{\w+\}", " ", text)
    if days_said(rest) or times_said(rest):
        return None
    return Template(text, frozenset(spans), joiner, day, clock)


def _only(phrase: str, message: str) -> tuple[int, int]:
    """Where the phrase stands in the message, (-1, -1) unless it stands there once as whole words."""
    matches = list(re.finditer(rf"(?<!\w){re.escape(phrase)}(?!\w)", message, re.IGNORECASE))
    return matches[0].span() if len(matches) == 1 else (-1, -1)


def _time_span(message: str, start: str) -> tuple[tuple[int, int], str | None]:
    """Where the time stands, and in which manner of CLOCKS it is written."""
    for write in CLOCKS.values():
        written = write(start)
        if written is not None and (span := _only(written, message))[0] >= 0:
            return span, manner_of_time(message[slice(*span)].lower(), start)
    return (-1, -1), None


def _overlap(spans: Iterable[tuple[int, int]]) -> bool:
    ordered = sorted(spans)
    return any(first[1] > second[0] for first, second in zip(ordered, ordered[1:], strict=False))


def said_fields(event: dict[str, Any]) -> frozenset[str]:
    """Return the names of the fields that an event has."""
    return frozenset(field for field in FIELDS if event[field])


def fill(template: Template, event: dict[str, Any], manners: Sequence[Template], rng: random.Random) -> str | None:
    """Return the message that a template makes of an event with the same fields; None where they do not fit.

    Day and time are written in the manner of a template drawn from ``manners``, so that every manner of the seeds
    meets every day and hour.
    """
    if said_fields(event) != template.fields:
        return None
    values = {"title": event["title"], "place": event["place"], "people": template.joiner.join(event["people"])}
    if event["day"]:
        form, case = rng.choice([manner.day for manner in manners if manner.day])
        values["day"] = write_day(event["day"], form, case)
    if event["start"]:
        clocks = [manner.clock for manner in manners if manner.clock]
        written = CLOCKS[rng.choice(clocks)](event["start"])
        values["start"] = written or CLOCKS["7.30pm"](event["start"])
    return template.text.format(**{field: values[field] for field in template.fields})


def new_events(known: Sequence[dict[str, Any]], count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return so many new events: title, place and people of one that is known, day and start drawn anew.

    Every weekday is drawn as often, and every quarter or tenth minute from 6 in the morning to 11 at night; a field
    that the known event lacks stays empty, and with one chance in five one more is left out. Long ones are passed
    over: a note has no room for them. Raises CourseError where none is short enough.
    """
    rng = random.Random(seed)
    short = [event for event in known if event and _short(event)]
    if not short:
        raise CourseError("None of the known events is short enough for a note: give more of them.")
    events = []
    while len(events) < count:
        event = dict(rng.choice(short))
        if event["day"]:
            event["day"] = rng.choice(WEEKDAYS)
        if event["start"]:
            event["start"] = f"{rng.randint(6, 22):02d}:{rng.choice((0, 0, 0, 15, 30, 30, 45, 10, 20, 40, 50, 5)):02d}"
        left_out = rng.choice(("day", "start", "place", "people")) if rng.random() < 0.2 else None
        if left_out:
            event[left_out] = [] if left_out == "people" else None
        if event["day"] or event["start"]:
            events.append({field: event[field] for field in FIELDS})
    return events


def _short(event: dict[str, Any]) -> bool:
    sizes = [len(event["title"].split()), len((event["place"] or "").split()), len(event["people"])]
    # A title or place with a day or time in it would say a second one.
    phrase = f"{event['title']} , {event['place'] or ''}"
    return all(size <= 3 for size in sizes) and not days_said(phrase) and not times_said(phrase)


def correct(message: str, event: str, rng: random.Random) -> tuple[str, list[str]] | None:
    """Make a message harder: put a wrong day before the right one, crossed out. Return it with the wrong day.

    None where the message does not name one day. The event stays as it is.
    """
    named, day = day_words(message), (json.loads(event) or {}).get("day")
    if len(named) != 1 or day is None:
        return None
    _, start, end = named[0]
    form, case = manner_of_day(message[start:end]) or (1, "lower")
    wrong = rng.choice([weekday for weekday in WEEKDAYS if weekday != day])
    how = rng.choice(("{wrong}? NO – {right}", "not {wrong}, {right}", "{wrong} no wait {right}", "{wrong} > {right}"))
    changed = how.format(wrong=write_day(wrong, form, case), right=message[start:end])
    return message[:start] + changed + message[end:], [wrong]


def shorten(message: str, event: str) -> tuple[str, str] | None:
    """Make a message harder: write its words in short forms, in the event's title and place too. Return both.

    None where there is nothing to shorten. Names of people stay.
    """
    wanted = json.loads(event)
    if wanted is None:
        return None
    names = {word for name in wanted["people"] for word in _words(name)}
    forms = {long: short for long, short in SHORT_FORMS.items() if long not in names}
    pattern = re.compile(rf"\b({'|'.join(forms)})\b", re.IGNORECASE)

    def short(text: str | None) -> str | None:
        return text and pattern.sub(lambda match: forms[match[0].lower()], text)

    changed = short(message)
    if changed == message:
        return None
    fields = {"title": short(wanted["title"]), "place": short(wanted["place"])}
    return changed, json.dumps(wanted | fields, ensure_ascii=False)


# --- What a model is asked ----------------------------------------------------------------------------------


def write_prompt(event: str, register: str = "jotting") -> list[dict[str, str]]:
    """Return the conversation that asks for the message to an event (JSON text): back-translation."""
    return conversation(WRITE_PROMPT.format(register=register.replace("_", " ")), event, "")["prompt"]


def self_prompt(shown: Sequence[dict[str, str]], persona: str) -> list[dict[str, str]]:
    """Return the conversation that shows messages with their events and asks for one more: self-instruct."""
    turns = [{"role": "system", "content": SELF_PROMPT}]
    for row in shown:
        turns.append({"role": "user", "content": "Write a note and its event."})
        turns.append({"role": "assistant", "content": f"{row['message']}\n{row['event']}"})
    return [*turns, {"role": "user", "content": f"Write another note, by {persona}, and its event."}]


def read_self(answer: str) -> tuple[str, str] | None:
    """Return (message, event) from an answer to `self_prompt`, or None where it contains no event of the schema."""
    message, _, rest = answer.strip().partition("\n")
    try:
        event = parse_event(rest)
    except ValueError:
        return None
    text = json.dumps(event, ensure_ascii=False)
    return (message.strip(), text) if message.strip() and sound_event(text) else None


# --- Duplicates, variety and leaks --------------------------------------------------------------------------


def grams(message: str, size: int = 4) -> set[str]:
    """Return the character n-grams of a message, case, punctuation and runs of spaces aside."""
    text = re.sub(r"\W+", " ", message.lower())
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def similarity(left: Sequence[str], right: Sequence[str]) -> "numpy.ndarray":
    """Return the Jaccard similarity of 4-grams, (left, right), of every message on the left with every on the right."""
    import numpy

    sets = [grams(message) for message in (*left, *right)]
    column = {gram: number for number, gram in enumerate(sorted(set().union(*sets)))}
    bags = numpy.zeros((len(sets), len(column)), dtype=numpy.float32)
    for bag, of_message in zip(bags, sets, strict=True):
        bag[[column[gram] for gram in of_message]] = 1
    shared = bags[: len(left)] @ bags[len(left) :].T
    sizes = bags.sum(axis=1)
    return shared / numpy.maximum(sizes[: len(left), None] + sizes[None, len(left) :] - shared, 1)


def unlike(messages: Sequence[str], threshold: float = 0.8) -> list[int]:
    """Return the places of messages to keep: each has a similarity below the threshold to every one kept before it.

    Case, punctuation and spaces do not count, so exact duplicates go in any case.
    """
    if not messages:
        return []
    alike, kept = similarity(messages, messages), []
    for place in range(len(messages)):
        if not kept or alike[place, kept].max() < threshold:
            kept.append(place)
    return kept


def distinct(messages: Sequence[str], size: int = 2) -> float:
    """Return distinct-n (Li et al., 2016, arXiv:1510.03055): different word n-grams, divided by all; 0 to 1."""
    every = [
        tuple(words[start : start + size])
        for words in (message.casefold().split() for message in messages)
        for start in range(len(words) - size + 1)
    ]
    return len(set(every)) / len(every) if every else 0.0


# What a skeleton leaves out beside the slots: figures, and the names of days.
_FIGURES = r"\d+([.:]\d+)*\s*([ap]\.\s?m\.)?"
_DAY_NAMES = (
    r"\bmon(day)?s?\b|\btu(e|es|esday)?s?\b|\bwed(s|nes|nesday|nesdays)?\b|\bth(u|ur|urs|ursday|ursdays)?\b"
    r"|\bfr(i|iday|idays)?\b|\bsa(t|turday|turdays)?\b|\bsu(n|nday|ndays)?\b"
)


def skeletons(message: str, event: dict[str, Any] | None) -> set[str]:
    """Return the sentences of a message without what a template would fill in: title, names, place, days and times.

    Only those of three words or more, because fewer are too little to tell two texts apart.
    """
    slots = [text for text in (*event["people"], event["place"], event["title"]) if text] if event else []
    for slot in sorted(slots, key=len, reverse=True):
        message = re.sub(re.escape(slot), " ", message, flags=re.IGNORECASE)
    # Times go before sentences are told apart: the full stops in "7.30 p.m." end none.
    for pattern in (_FIGURES, _DAY_NAMES):
        message = re.sub(pattern, " ", message, flags=re.IGNORECASE)
    variants = set()
    for sentence in re.split(r"[.!?\n]+", message.lower()):
        words = [word.strip("_") for word in re.findall(r"[\w']+", sentence)]
        words = [word for word in words if word not in {"", "am", "pm", "a", "p", "m", "h", "noon"}]
        if len(words) >= 3:
            variants.add(" ".join(words))
    return variants


def leaks(records: Sequence[dict], tests: Sequence[dict], threshold: float = 0.5) -> dict[str, str]:
    """Return the ids of records that give a test message away, with the reason: "copy", "skeleton" or "n-grams".

    ``records`` and ``tests`` have ``id``, ``message`` and ``event`` (JSON text). A *copy* is the same but for case,
    punctuation and spaces; a shared *skeleton* is the same sentence with other slots; *n-grams* means more than
    ``threshold`` of the 4-grams shared. It cannot see a translation or a rewording.
    """
    if not records or not tests:
        return {}
    bare = {_bare(row["message"]) for row in tests}
    known = set().union(*(skeletons(row["message"], json.loads(row["event"])) for row in tests))
    nearest = similarity([row["message"] for row in records], [row["message"] for row in tests]).max(axis=1)
    reasons = {}
    for record, near in zip(records, nearest, strict=True):
        if _bare(record["message"]) in bare:
            reasons[record["id"]] = "copy"
        elif skeletons(record["message"], json.loads(record["event"])) & known:
            reasons[record["id"]] = "skeleton"
        elif near > threshold:
            reasons[record["id"]] = "n-grams"
    return reasons


def _bare(message: str) -> str:
    return " ".join(re.findall(r"\w+", message.casefold()))


# --- Records on disk ----------------------------------------------------------------------------------------


class Store:
    """Records in a JSON Lines file that is written in one step after every batch, so that work can be resumed.

    Raises CourseError for a file that contains something else; it is left as it is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.records: list[dict[str, Any]] = []
        if self.path.is_file():
            try:
                lines = self.path.read_text(encoding="utf-8").split("\n")
                self.records = [json.loads(line) for line in lines if line]
                self._ids = {record["id"] for record in self.records}
            except (ValueError, TypeError, KeyError) as error:
                raise CourseError(f"{self.path.name} contains no records that can be read: move it away.") from error
        else:
            self._ids = set()

    def __contains__(self, name: str) -> bool:
        return name in self._ids

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Add records and write the file. Raises CourseError for an id that is there already, and a full disk."""
        new = list(records)
        ids = [record["id"] for record in new]
        if len(set(ids)) < len(ids) or self._ids & set(ids):
            raise CourseError(f"{self.path.name}: two records have the same id.")
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in (*self.records, *new))
        with writing(self.path.name, "free some disk"):
            write_text(self.path, lines)
        self.records += new
        self._ids |= set(ids)


def generate(
    store: Store,
    jobs: Sequence[dict[str, Any]],
    make: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    batch_size: int = 64,
) -> None:
    """Turn jobs into records, a batch at a time, and keep each batch; jobs whose id is kept already are passed over.

    ``make`` takes jobs and returns a record for each of them. Progress is printed on one line. Raises CourseError if
    it returns another number of records, or records with other ids.
    """
    waiting = [job for job in jobs if job["id"] not in store]
    done = len(jobs) - len(waiting)
    if done:
        print(f"{done} of {len(jobs)} were kept from before.")
    for start in range(0, len(waiting), batch_size):
        batch = waiting[start : start + batch_size]
        records = make(batch)
        if [record["id"] for record in records] != [job["id"] for job in batch]:
            raise CourseError("One record for each job is needed, with the job's id.")
        store.add(records)
        done += len(batch)
        print(f"{' ' if start else 'Made '}{done}", end="", flush=True)
    if waiting:
        print(f" of {len(jobs)}.")

"""One week's calendar in a SQLite file, with its rules in the database, so that nobody gets round them.

Rules: a day is a weekday, an event lasts 60 minutes and ends on its day, and no two events overlap. What it leaves out
on purpose: dates, time zones, weeks, lengths and series. It knows nothing about models or agents.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.metrics import WEEKDAYS

MINUTES = 60  # what every event lasts
LATEST = 24 * 60 - MINUTES  # the last minute of a day at which an event may start
AWAKE = ("08:00", "20:00")  # between these, free time is offered
_SMALL_WORDS = {"the", "a", "an", "my"}

_SELECT = "SELECT id, title, day, minute, place, people FROM events"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL CHECK (trim(title) <> ''),
    day TEXT NOT NULL CHECK (day IN ({", ".join(f"'{day}'" for day in WEEKDAYS)})),
    minute INTEGER NOT NULL CHECK (typeof(minute) = 'integer' AND minute BETWEEN 0 AND {LATEST}),
    place TEXT CHECK (place <> ''),
    people TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(people) AND people LIKE '[%')
);
CREATE TRIGGER IF NOT EXISTS no_clash_added BEFORE INSERT ON events
WHEN EXISTS (SELECT 1 FROM events WHERE day = NEW.day AND abs(minute - NEW.minute) < {MINUTES})
BEGIN SELECT RAISE(ABORT, 'clash'); END;
CREATE TRIGGER IF NOT EXISTS no_clash_moved BEFORE UPDATE OF day, minute ON events
WHEN EXISTS (SELECT 1 FROM events WHERE day = NEW.day AND abs(minute - NEW.minute) < {MINUTES} AND id <> NEW.id)
BEGIN SELECT RAISE(ABORT, 'clash'); END;
"""


class Refused(Exception):
    """The calendar's rules forbid it; the message says which one, in words for whoever asked."""


@dataclass(frozen=True)
class Event:
    """One event of the calendar. ``str()`` gives a line such as "2: dentist, tuesday 09:00, Elm Clinic, with Ana"."""

    id: int
    title: str
    day: str
    start: str
    place: str | None = None
    people: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = [self.place] if self.place else []
        more += ["with " + " and ".join(self.people)] if self.people else []
        return ", ".join([f"{self.id}: {self.title}", self.when, *more])

    @property
    def when(self) -> str:
        """Day and start, such as "tuesday 09:00"."""
        return f"{self.day} {self.start}"

    def row(self) -> dict[str, Any]:
        """The event's five fields as the course's metrics take them, and its id."""
        return {
            "id": self.id,
            "title": self.title,
            "day": self.day,
            "start": self.start,
            "place": self.place,
            "people": list(self.people),
        }


class Calendar:
    """The calendar in a file; ``":memory:"`` keeps it in memory, for one thread at a time.

    Every change is one transaction. Raises CourseError if the file is no calendar or cannot be written.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = str(path)
        self._kept = sqlite3.connect(":memory:", check_same_thread=False) if self.path == ":memory:" else None
        try:
            with self._open() as database:
                database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            name = Path(self.path).name
            raise CourseError(f"{name} cannot be used as a calendar ({error}): name another file.") from error

    @classmethod
    def of(cls, events: Iterable[dict[str, Any]], path: str | Path = ":memory:") -> "Calendar":
        """Return a calendar with these events (title, day, start, and perhaps place and people), numbered from 1."""
        calendar = cls(path)
        for event in events:
            calendar.add(event["title"], event["day"], event["start"], event.get("place"), event.get("people") or ())
        return calendar

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: kept if all goes well, undone if not."""
        if self._kept is not None:
            with self._kept:
                yield self._kept
            return
        with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
            yield database

    def add(self, title: str, day: str, start: str, place: str | None = None, people: Iterable[str] = ()) -> Event:
        """Add an event and return it. Raises Refused for an empty title, no weekday, no time, or a clash."""
        fields = (title, day, minute_of(start), place or None, json.dumps(list(people), ensure_ascii=False))
        with self._rules(day, start), self._open() as database:
            made = database.execute(
                "INSERT INTO events (title, day, minute, place, people) VALUES (?, ?, ?, ?, ?)", fields
            )
            return self._one(database, made.lastrowid or 0)

    def move(self, id: int, day: str, start: str) -> Event:
        """Give an event another day and start, and return it. Raises Refused as `add` does, and for an unknown id."""
        minute = minute_of(start)
        with self._rules(day, start, id), self._open() as database:
            self._one(database, id)
            database.execute("UPDATE events SET day = ?, minute = ? WHERE id = ?", (day, minute, id))
            return self._one(database, id)

    def cancel(self, id: int) -> Event:
        """Remove an event, and return what it was. Raises Refused for an unknown id."""
        with self._open() as database:
            event = self._one(database, id)
            database.execute("DELETE FROM events WHERE id = ?", (id,))
            return event

    def events(self, day: str | None = None) -> list[Event]:
        """Return all events, or those of a day, in the order of the week. Raises Refused for what is no weekday."""
        if day is not None and day not in WEEKDAYS:
            raise Refused(f"{day} is no weekday")
        with self._open() as database:
            rows = database.execute(_SELECT).fetchall()
        events = [_event(row) for row in rows]
        events.sort(key=lambda event: (WEEKDAYS.index(event.day), event.start))
        return [event for event in events if day in (None, event.day)]

    def find(self, text: str) -> list[Event]:
        """Return the events in whose title, place or people all words of a text stand, case and articles aside."""
        wanted = set(_words(text)) - _SMALL_WORDS
        matching = []
        for event in self.events():
            if wanted and wanted <= set(_words(" ".join([event.title, event.place or "", *event.people]))):
                matching.append(event)
        return matching

    def free(self, day: str) -> list[str]:
        """Return the stretches of a day in which an event fits, such as "08:00-10:30". Raises Refused as `events`."""
        start, end = (minute_of(time) for time in AWAKE)
        stretches = []
        for event in self.events(day):
            taken = minute_of(event.start)
            stretches.append((start, min(taken, end)))
            start = max(start, taken + MINUTES)
        stretches.append((start, end))
        return [f"{time_of(a)}-{time_of(b)}" for a, b in stretches if b - a >= MINUTES]

    @contextmanager
    def _rules(self, day: str, start: str, moved: int | None = None) -> Iterator[None]:
        """Say in words which of the database's rules forbade it."""
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise Refused(self._reason(day, start, moved)) from error

    def _reason(self, day: str, start: str, moved: int | None) -> str:
        if day not in WEEKDAYS:
            return f"{day} is no weekday"
        minute = minute_of(start)
        if minute > LATEST:
            return f"an event lasts {MINUTES} minutes and must end on its day"
        for event in self.events(day):
            if event.id != moved and abs(minute_of(event.start) - minute) < MINUTES:
                return f"{day} {start} is taken by {event.id}: {event.title}, {event.when}"
        return "the event needs a title"

    def _one(self, database: sqlite3.Connection, id: int) -> Event:
        row = database.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise Refused(f"there is no event {id}")
        return _event(row)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def minute_of(start: str) -> int:
    """Return the minute of the day of a time such as "19:30". Raises Refused for what is no time."""
    if not isinstance(start, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", start, re.ASCII):
        raise Refused(f"{start} is no time such as 19:30")
    return int(start[:2]) * 60 + int(start[3:])


def time_of(minute: int) -> str:
    """Return the time of a minute of the day, such as "19:30"."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _event(row: tuple[Any, ...]) -> Event:
    id, title, day, minute, place, people = row
    return Event(id, title, day, time_of(minute), place, tuple(json.loads(people)))

"""The calendar's rules hold in the database itself, whoever writes to it."""

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from smol_course.agents.calendar import Calendar, Event, Refused, minute_of, time_of
from smol_course.agents.tasks import tasks
from smol_course.errors import CourseError

DENTIST = {"title": "dentist", "day": "tuesday", "start": "09:00", "place": "Elm Clinic", "people": ["Ana"]}
GYM = {"title": "gym", "day": "friday", "start": "18:00"}


@pytest.fixture(params=["memory", "file"])
def calendar(request: pytest.FixtureRequest, tmp_path: Path) -> Calendar:
    return Calendar.of([DENTIST, GYM], ":memory:" if request.param == "memory" else tmp_path / "week.db")


def test_events_come_back_as_they_went_in(calendar: Calendar) -> None:
    first, second = calendar.events()
    assert first == Event(1, "dentist", "tuesday", "09:00", "Elm Clinic", ("Ana",)) and second.id == 2
    assert str(first) == "1: dentist, tuesday 09:00, Elm Clinic, with Ana" and str(second) == "2: gym, friday 18:00"
    assert first.row() == {"id": 1} | DENTIST


def test_a_week_is_in_order_and_a_day_by_itself(calendar: Calendar) -> None:
    calendar.add("walk", "monday", "20:00")
    calendar.add("breakfast", "friday", "07:30")
    assert [event.title for event in calendar.events()] == ["walk", "dentist", "breakfast", "gym"]
    assert [event.title for event in calendar.events("friday")] == ["breakfast", "gym"]


@pytest.mark.parametrize("start", ["08:01", "08:30", "09:00", "09:59"])
def test_a_clash_is_refused_and_named(calendar: Calendar, start: str) -> None:
    with pytest.raises(Refused, match=f"tuesday {start} is taken by 1: dentist, tuesday 09:00"):
        calendar.add("yoga", "tuesday", start)
    with pytest.raises(Refused, match="taken by 1"):
        calendar.move(2, "tuesday", start)
    assert len(calendar.events()) == 2 and calendar.events()[1].when == "friday 18:00"


@pytest.mark.parametrize("start", ["08:00", "10:00"])
def test_events_may_touch(calendar: Calendar, start: str) -> None:
    calendar.add("yoga", "tuesday", start)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (("", "monday", "09:00"), "needs a title"),
        (("  ", "monday", "09:00"), "needs a title"),
        (("yoga", "someday", "09:00"), "someday is no weekday"),
        (("yoga", "Monday", "09:00"), "Monday is no weekday"),
        (("yoga", "monday", "9"), "9 is no time"),
        (("yoga", "monday", "24:00"), "24:00 is no time"),
        (("yoga", "monday", "23:30"), "must end on its day"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_reason(calendar: Calendar, fields: tuple, said: str) -> None:
    with pytest.raises(Refused, match=said):
        calendar.add(*fields)
    assert len(calendar.events()) == 2


def test_moving_and_cancelling(calendar: Calendar) -> None:
    assert calendar.move(1, "tuesday", "09:30").when == "tuesday 09:30"  # it does not clash with itself
    assert calendar.cancel(1).title == "dentist"
    for change in (lambda: calendar.cancel(1), lambda: calendar.move(1, "monday", "09:00")):
        with pytest.raises(Refused, match="there is no event 1"):
            change()
    assert calendar.add("new", "sunday", "10:00").id == 3, "a number must not be given twice"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dentist", [1]),
        ("the DENTIST", [1]),
        ("Ana", [1]),
        ("elm clinic", [1]),
        ("dent", []),
        ("gym Ana", []),
        ("the", []),
    ],
)
def test_finding(calendar: Calendar, text: str, found: list[int]) -> None:
    assert [event.id for event in calendar.find(text)] == found


def test_free_time(calendar: Calendar) -> None:
    assert calendar.free("monday") == ["08:00-20:00"]
    assert calendar.free("tuesday") == ["08:00-09:00", "10:00-20:00"]
    calendar.add("early", "tuesday", "07:30")  # 08:30 to 09:00 is too short
    assert calendar.free("tuesday") == ["10:00-20:00"]
    calendar.add("late", "friday", "19:30")
    assert calendar.free("friday") == ["08:00-18:00"]


def test_the_rules_are_in_the_file(tmp_path: Path) -> None:
    Calendar.of([DENTIST], tmp_path / "week.db")
    with sqlite3.connect(tmp_path / "week.db") as database:
        for wrong in (
            "('yoga', 'tuesday', 540, '[]')",
            "('yoga', 'someday', 600, '[]')",
            "('yoga', 'monday', 1381, '[]')",
            "('yoga', 'monday', 9.5, '[]')",
            "('yoga', 'monday', 600, 'Ana')",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute(f"INSERT INTO events (title, day, minute, people) VALUES {wrong}")
        database.execute("INSERT INTO events (title, day, minute, people) VALUES ('yoga', 'tuesday', 600, '[]')")


def test_two_writers_cannot_both_have_the_hour(tmp_path: Path) -> None:
    Calendar(tmp_path / "week.db")
    done: list[str] = []

    def book(name: str) -> None:
        try:
            Calendar(tmp_path / "week.db").add(name, "monday", "10:00")
            done.append(name)
        except Refused:
            pass

    threads = [threading.Thread(target=book, args=(f"writer {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1 and [event.title for event in Calendar(tmp_path / "week.db").events()] == done


def test_odd_texts_are_only_texts(calendar: Calendar) -> None:
    title = 'x\'); DROP TABLE events; -- 🐢 "q"'
    assert calendar.add(title, "sunday", "09:00", "a, b", ["Ó'Neil"]).title == title
    assert len(calendar.events()) == 3


def test_a_file_that_is_no_calendar(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ana, " * 200)
    with pytest.raises(CourseError, match="letter.txt cannot be used as a calendar"):
        Calendar(tmp_path / "letter.txt")


def test_minutes_and_times() -> None:
    assert all(time_of(minute_of(time)) == time for time in ("00:00", "07:05", "19:30", "23:59"))
    for wrong in ("7:05", "19.30", "", "25:00", "12:60", None, 5):
        with pytest.raises(Refused):
            minute_of(wrong)  # type: ignore[arg-type]


# --- The test tasks -----------------------------------------------------------------------------------------

ALL = [*tasks("single"), *tasks("organiser")]


def test_there_are_enough_tasks_of_each_kind() -> None:
    assert len(tasks("organiser")) == 50 and len(tasks("single")) == 60
    assert len({task["id"] for task in ALL}) == len({task["message"] for task in ALL}) == 110
    kinds = {task["kind"] for task in tasks("organiser")}
    assert {"add", "clash", "otherwise", "move", "cancel", "list", "ask", "free", "two", "clear", "ask back"} <= kinds
    with pytest.raises(CourseError, match="take single or organiser"):
        tasks("double")


@pytest.mark.parametrize("task", ALL, ids=lambda task: task["id"])
def test_a_task_can_be_done_and_cannot_be_done_by_doing_nothing(task: dict) -> None:
    """The wanted week obeys the rules; and either the week must change, or something must be said."""
    before, after = Calendar.of(task["before"]), Calendar.of(task["after"])
    changes = [event.row() | {"id": 0} for event in before.events()] != [e.row() | {"id": 0} for e in after.events()]
    assert changes or task["says"]
    assert changes == (task["kind"] in {"add", "otherwise", "move", "cancel", "free hour", "two", "clear"})


def test_people_of_the_tasks_are_not_those_of_training() -> None:
    names = {
        part for task in ALL for event in task["before"] + task["after"] for part in " ".join(event["people"]).split()
    }
    names -= {"Mr", "Mrs", "Ms", "Dr", "Sister", "Uncle", "Aunt"}
    assert names and all(name[0] in "NOPQRSTUVWXYZ" for name in names), sorted(names)
    assert json.dumps(ALL)

"""The agent's test tasks, as they ship: a week before, a message, and the week that must be there afterwards."""

from smol_course.data import read_lines
from smol_course.errors import CourseError


def tasks(name: str) -> list[dict]:
    """Return the agent's test tasks: "single" ones, which need one call, or the "organiser" ones.

    Each has ``id``, ``kind``, ``message``, ``before`` and ``after`` (the week's events, as dictionaries with title,
    day, start, place and people) and ``says``, the words that the answer must contain, in which "|" stands between
    alternatives. Raises CourseError for another name.
    """
    rows = [row for row in read_lines("tasks") if row["set"] == name]
    if not rows:
        raise CourseError(f"There are no tasks {name!r}: take single or organiser.")
    return rows

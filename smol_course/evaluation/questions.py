"""Questions with four options each, as they ship: everyday ones, and a quiz on the course."""

from typing import TYPE_CHECKING

from smol_course.data import read_lines
from smol_course.errors import CourseError

if TYPE_CHECKING:
    from datasets import Dataset


def choices(name: str = "everyday", split: str = "test") -> "Dataset":
    """Return questions with four options each: "everyday" ones, or the course's own "quiz" questions.

    Columns: ``id``, ``kind`` (the topic), ``form`` ("cloze": the right option completes the text; "question"),
    ``text``, ``options`` (four texts) and ``right`` (the index of the right one). The split "shots" contains an example
    of each kind of everyday question, to show in a prompt. Raises CourseError for another name or split.
    """
    from datasets import Dataset

    known = {"everyday": ("test", "shots"), "quiz": ("test",)}
    if split not in known.get(name, ()):
        names = ", ".join(f"{known_name} ({' or '.join(splits)})" for known_name, splits in known.items())
        raise CourseError(f"There are no choices {name!r} with the split {split!r}; there are: {names}.")
    rows = [row for row in read_lines(name) if row["split"] == split]
    return Dataset.from_list([{key: row[key] for key in row if key != "split"} for row in rows])

"""The jottings: a new register's few messages, written for module 6, and what was made from them."""

import json
from typing import TYPE_CHECKING

from smol_course.data import read_lines
from smol_course.errors import CourseError

if TYPE_CHECKING:
    from datasets import Dataset


def jottings(split: str = "train") -> "Dataset":
    """Return the 50 jottings that stand for a new register's few messages: to train on, and to make more from.

    ``split`` "dev" gives 48 others, to choose settings on. Columns as those of `events`, whose splits do not have them.
    Raises CourseError for another split.
    """
    from datasets import Dataset

    files = {"train": "jottings", "dev": "jottings_dev"}
    if split not in files:
        raise CourseError(f"There is no split {split!r} of the jottings: take train or dev.")
    rows = read_lines(files[split])
    return Dataset.from_list([row | {"event": json.dumps(row["event"], ensure_ascii=False)} for row in rows])


def made_jottings() -> "Dataset":
    """Return the jottings that ``recipes/jottings.py`` made from those 50, the bad ones among them.

    Columns, all texts: ``id``, ``origin`` ("template", "back_translation", "self_instruct" or "evolved"), ``parent``
    (the record that it was made from, or ""), ``also`` (a wrong day that it mentions on purpose, or ""), ``message``,
    ``event`` (JSON), and ``read`` (what organiser_lora reads in it, or "" where it was not asked). Raises CourseError
    where they were not made yet.
    """
    from datasets import Dataset

    try:
        return Dataset.from_list(read_lines("jottings_made"))
    except FileNotFoundError as error:
        raise CourseError(
            "The synthetic jottings are not there: `uv run python -m recipes.jottings` makes them."
        ) from error

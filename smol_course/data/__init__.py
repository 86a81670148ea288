"""Where the course's data comes from: the event messages, the questions, and what the notebooks' studies measured.

How they were written and labelled stands beside them, in ``CARD.md`` and ``CHOICES.md``.
"""

import json
import random
import re
from importlib import resources
from typing import TYPE_CHECKING

from smol_course.errors import CourseError
from smol_course.settings import course_files

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "dev", "test", "hard")
SYSTEM_PROMPT = "Write the event as JSON: title, day, start, place, people."
CONFIRM_PROMPT = "Confirm the event in one short sentence."


def split_rows(split: str) -> list[dict]:
    """Return the rows of one split of the event messages. Raises CourseError for a split that does not exist."""
    if split not in SPLITS:
        raise CourseError(f"There is no split {split!r}: take one of {', '.join(SPLITS)}.")
    return read_lines(split)


def read_lines(name: str) -> list[dict]:
    """Return the rows of one of the course's JSON Lines files."""
    file = resources.files(__name__).joinpath(f"{name}.jsonl")
    # Not splitlines(): it would also cut a message at a Unicode line separator.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def events(split: str) -> "Dataset":
    """Return one split of the event messages as a `datasets.Dataset`.

    Columns, all texts: ``id``, ``register``, ``style`` (plain or tangled), ``message``, and ``event``, the JSON a
    perfect model answers (``null`` where there is no event). Raises CourseError for a split that does not exist.
    """
    from datasets import Dataset

    rows = split_rows(split)
    return Dataset.from_list([row | {"event": json.dumps(row["event"], ensure_ascii=False)} for row in rows])


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


def confirmations(split: str) -> "Dataset":
    """Return one split ("train" or "dev") of the confirmations: sentences that tell a user which event was noted.

    Columns, all texts: ``id`` (that of the message whose event it is), ``event`` (its JSON), and three confirmations of
    it: ``plain`` (one short sentence), ``rambling`` and ``flattering``. Each states the event rightly. Raises
    CourseError for another split.
    """
    from datasets import Dataset

    if split not in ("train", "dev"):
        raise CourseError(f"There are no confirmations for {split!r}: take train or dev.")
    events_of = {row["id"]: json.dumps(row["event"], ensure_ascii=False) for row in split_rows(split)}
    rows = [row for row in read_lines("confirmations") if row["id"] in events_of]
    return Dataset.from_list([{"id": row["id"], "event": events_of[row["id"]]} | row for row in rows])


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


def study_runs(topic: str) -> dict[str, dict]:
    """Return what the study of a notebook measured, by the name of the run.

    Each run has ``parameters``, ``defaults`` (the values of the others), ``results`` (by name, each with ``value``,
    ``low``, ``high``, ``n`` and ``seed``), ``seconds``, ``peak_mb`` and ``failed`` (the message, or None). They are
    read in the repository, else in the installed package. Raises CourseError for a topic without results.
    """
    files = course_files(f"[0-9]*_*/studies/{topic}.json") if re.fullmatch(r"\w+", topic) else []
    if not files:
        raise CourseError(f"There are no results of a study of {topic!r}: take the name of a notebook, such as dpo.")
    runs = json.loads(files[0].read_text(encoding="utf-8"))["runs"]
    return {
        name: run | {"results": {result["name"]: result for result in run["results"]}} for name, run in runs.items()
    }


def conversation(prompt: str, message: str, reply: str) -> dict[str, list[dict[str, str]]]:
    """Return one training example for TRL: the prompt (instruction and message) and the completion (the reply)."""
    asked = [{"role": "system", "content": prompt}, {"role": "user", "content": message}]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": reply}]}


def in_like_batches(rows: "Dataset", batch_size: int, seed: int, column: str = "message") -> "Dataset":
    """Return the rows in another order: each batch of like length, the batches shuffled.

    For a trainer that takes rows in order (``train_sampling_strategy="sequential"``); less is padded then. Module 1's
    notebook builds it. ``column`` is the text whose length counts.
    """
    by_length = sorted(range(len(rows)), key=lambda row: len(rows[row][column]))
    batches = [by_length[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    random.Random(seed).shuffle(batches)
    return rows.select([row for batch in batches for row in batch])

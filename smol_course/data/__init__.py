"""The event messages and what the notebooks' studies measured. Of the files here, what one module needs its kit reads.

How they were written and labelled stands beside them, in ``CARD.md``, ``CHOICES.md`` and ``TASKS.md``.
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


def read_lines(name: str) -> list[dict]:
    """Return the rows of one of the course's JSON Lines files."""
    file = resources.files(__name__).joinpath(f"{name}.jsonl")
    # Not splitlines(): it would also cut a message at a Unicode line separator.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def events(split: str) -> "Dataset":
    """Return one split of the event messages. Raises CourseError for a split that does not exist.

    Columns, all texts: ``id``, ``register``, ``style`` (plain or tangled), ``message``, and ``event``, the JSON a
    perfect model answers (``null`` where there is no event).
    """
    from datasets import Dataset

    if split not in SPLITS:
        raise CourseError(f"There is no split {split!r}: take one of {', '.join(SPLITS)}.")
    rows = read_lines(split)
    return Dataset.from_list([row | {"event": json.dumps(row["event"], ensure_ascii=False)} for row in rows])


def study_runs(topic: str) -> dict[str, dict]:
    """Return what the study of a notebook measured, by the name of the run. Raises CourseError for one without.

    Each run has ``parameters``, ``defaults`` (the values of the others), ``results`` (by name, each with ``value``,
    ``low``, ``high``, ``n`` and ``seed``), ``seconds``, ``peak_mb`` and ``failed`` (the message, or None).
    """
    files = course_files(f"[0-9]*_*/studies/{topic}.json") if re.fullmatch(r"\w+", topic) else []
    if not files:
        raise CourseError(f"There are no results of a study of {topic!r}: take the name of a notebook, such as dpo.")
    runs = json.loads(files[0].read_text(encoding="utf-8"))["runs"]
    by_name = {name: {result["name"]: result for result in run["results"]} for name, run in runs.items()}
    return {name: run | {"results": by_name[name]} for name, run in runs.items()}


def conversation(prompt: str, message: str, reply: str) -> dict[str, list[dict[str, str]]]:
    """Return one training example for TRL: the prompt (instruction and message) and the completion (the reply)."""
    asked = [{"role": "system", "content": prompt}, {"role": "user", "content": message}]
    return {"prompt": asked, "completion": [{"role": "assistant", "content": reply}]}


def in_like_batches(rows: "Dataset", batch_size: int, seed: int, column: str = "message") -> "Dataset":
    """Return the rows in another order, each batch of like length and the batches shuffled, so that less is padded.

    For a trainer that takes rows in order (``train_sampling_strategy="sequential"``). Module 1's notebook builds it.
    """
    by_length = sorted(range(len(rows)), key=lambda row: len(rows[row][column]))
    batches = [by_length[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    random.Random(seed).shuffle(batches)
    return rows.select([row for batch in batches for row in batch])

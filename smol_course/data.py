"""Where the course's data comes from: the event messages that ship with the package.

How they were written and labelled stands beside them, in ``organiser/data/CARD.md``. After a change of the data,
``python -m smol_course.data`` writes the card's table of counts anew.
"""

import json
import os
import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from smol_course.errors import CourseError

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "dev", "test", "hard")
SYSTEM_PROMPT = "Write the event as JSON: title, day, start, place, people."
CARD = Path(__file__).parent / "organiser" / "data" / "CARD.md"
_MISSING = {
    "event without a day": "day",
    "event without a start": "start",
    "event without a place": "place",
    "event without people": "people",
}


def _rows(split: str) -> list[dict]:
    if split not in SPLITS:
        raise CourseError(f"There is no split {split!r}: take one of {', '.join(SPLITS)}.")
    file = resources.files("smol_course").joinpath("organiser", "data", f"{split}.jsonl")
    # Not splitlines(): it would also cut a message at a Unicode line separator.
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def events(split: str) -> "Dataset":
    """Return one split of the event messages as a `datasets.Dataset`.

    Columns, all texts: ``id``, ``register``, ``style`` (plain or tangled), ``message``, and ``event``, the JSON a
    perfect model answers (``null`` where there is no event). Raises CourseError for a split that does not exist.
    """
    from datasets import Dataset

    rows = _rows(split)
    return Dataset.from_list([row | {"event": json.dumps(row["event"], ensure_ascii=False)} for row in rows])


def card_table() -> str:
    """Return the Markdown table of the data card: what each split holds, counted from the files."""
    counts = [Counter(fact for row in _rows(split) for fact in _facts(row)) for split in SPLITS]
    registers = sorted(fact for fact in set().union(*counts) if fact.startswith("`"))
    lines = [f"| | {' | '.join(SPLITS)} |", "|---|" + "---:|" * len(SPLITS)]
    for fact in (
        "messages",
        "plain",
        "tangled",
        *registers,
        "no event",
        *_MISSING,
        "event with several people",
    ):
        lines.append(f"| {fact} | {' | '.join(str(count[fact]) for count in counts)} |")
    return "\n".join(lines)


def _facts(row: dict) -> list[str]:
    facts, event = ["messages", row["style"], f"`{row['register']}`"], row["event"]
    if event is None:
        return [*facts, "no event"]
    facts += [name for name, field in _MISSING.items() if not event[field]]
    return [*facts, "event with several people"] if len(event["people"]) > 1 else facts


def _fill_card() -> None:
    text = CARD.read_text(encoding="utf-8")
    filled, found = re.subn(
        r"(<!--counts-->).*?(<!--/counts-->)", rf"\1\n{card_table()}\n\2", text, flags=re.DOTALL
    )
    if found != 1:
        raise CourseError(f"{CARD.name} needs one pair of <!--counts--> and <!--/counts--> for its table.")
    draft = CARD.with_suffix(".tmp")
    draft.write_text(filled, encoding="utf-8", newline="\n")
    os.replace(draft, CARD)


if __name__ == "__main__":
    _fill_card()

"""Write the table of counts in the data card, ``smol_course/data/CARD.md``, anew: after a change of the messages.

uv run python -m recipes.data_card
"""

import re
from collections import Counter
from pathlib import Path

import smol_course.data
from smol_course.data import SPLITS, read_lines
from smol_course.errors import CourseError
from smol_course.files import write_text

CARD = Path(smol_course.data.__file__).with_name("CARD.md")
_MISSING = {
    "event without a day": "day",
    "event without a start": "start",
    "event without a place": "place",
    "event without people": "people",
}


def card_table() -> str:
    """Return the Markdown table of the data card: what each split holds, counted from the files."""
    counts = [Counter(fact for row in read_lines(split) for fact in _facts(row)) for split in SPLITS]
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


def fill_card() -> None:
    """Write the counts of today's files into the card. Raises CourseError if the card has no place for them."""
    text = CARD.read_text(encoding="utf-8")
    filled, places = re.subn(r"(<!--counts-->).*?(<!--/counts-->)", rf"\1\n{card_table()}\n\2", text, flags=re.DOTALL)
    if places != 1:
        raise CourseError(f"{CARD.name} needs one pair of <!--counts--> and <!--/counts--> for its table.")
    write_text(CARD, filled)


if __name__ == "__main__":
    fill_card()

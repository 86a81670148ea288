"""Confirmations: one sentence that tells the user which event was noted. Those that ship, and the rule that judges."""

import json
import re
from typing import TYPE_CHECKING

from smol_course.data import read_lines
from smol_course.errors import CourseError
from smol_course.metrics import TITLE_F1, WEEKDAYS, _place, _words

if TYPE_CHECKING:
    from datasets import Dataset

CONFIRM_PROMPT = "Confirm the event in one short sentence."
LONGEST_CONFIRMATION = 25  # words
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))?\s*(?:([ap])\.?m\b\.?)?", re.IGNORECASE)


def confirmations(split: str) -> "Dataset":
    """Return one split ("train" or "dev") of the confirmations: sentences that tell a user which event was noted.

    Columns, all texts: ``id`` (that of the message whose event it is), ``event`` (its JSON), and three confirmations of
    it: ``plain`` (one short sentence), ``rambling`` and ``flattering``. Each states the event rightly. Raises
    CourseError for another split.
    """
    from datasets import Dataset

    if split not in ("train", "dev"):
        raise CourseError(f"There are no confirmations for {split!r}: take train or dev.")
    events_of = {row["id"]: json.dumps(row["event"], ensure_ascii=False) for row in read_lines(split)}
    rows = [row for row in read_lines("confirmations") if row["id"] in events_of]
    return Dataset.from_list([{"id": row["id"], "event": events_of[row["id"]]} | row for row in rows])


def confirmation_faults(text: str, event: str) -> list[str]:
    """Return what is wrong with a confirmation of an event (its JSON), as short names; [] for a good one.

    Title (half of its words), day, start, place and people must be said as the event has them; a day or time that it
    does not have is "invented". More than one sentence, and more than 25 words, are faults too. It cannot see an
    invented place or person, nor flattery. Raises ValueError for ``null``, which there is nothing to say about.
    """
    wanted = json.loads(event)
    if wanted is None:
        raise ValueError("there is no event to confirm")
    said = _words(text)
    faults = [] if _title_said(said, wanted["title"]) else ["no title"]
    faults += _compared("day", {word for word in said if word in WEEKDAYS}, wanted["day"])
    # The title and the place may contain numbers of their own ("studio 2"): they are no times.
    rest = _without(text, [wanted["place"], wanted["title"]])
    faults += _compared("start", _times(rest), wanted["start"])
    if wanted["place"] and f" {_place(wanted['place'])} " not in f" {_place(text)} ":
        faults.append("no place")
    spoken = f" {' '.join(said)} "
    if any(f" {' '.join(_words(name))} " not in spoken for name in wanted["people"]):
        faults.append("no people")
    return faults + _form_faults(text)


def _title_said(said: list[str], title: str | None) -> bool:
    words = set(_words(title or ""))
    return len(words & set(said)) >= TITLE_F1 * len(words)


def _compared(field: str, said: set[str], wanted: str | None) -> list[str]:
    if said - {wanted}:
        return [f"wrong {field}" if wanted else f"invented {field}"]
    return [f"no {field}"] if wanted and not said else []


def _without(text: str, phrases: list[str | None]) -> str:
    for phrase in filter(None, phrases):
        text = re.sub(re.escape(phrase), " ", text, flags=re.IGNORECASE)
    return text


def _times(text: str) -> set[str]:
    """The times of day in a text, as 24-hour HH:MM; a bare number is none."""
    times = {"12:00"} if re.search(r"\b(noon|midday)\b", text, re.IGNORECASE) else set()
    for hour, minute, half in _CLOCK.findall(text):
        if not minute and not half:
            continue
        hours = int(hour) % 12 + 12 * (half.lower() == "p") if half else int(hour)
        times.add(f"{hours:02d}:{minute or '00'}")
    return times


def _form_faults(text: str) -> list[str]:
    faults = [] if len(text.split()) <= LONGEST_CONFIRMATION else ["too long"]
    # The event's own JSON, copied, states every fact and is no sentence.
    faults += ["no sentence"] if "{" in text else []
    # An end of sentence with something behind it; "7.30 p.m. at" and "St. Ann" go on in the same sentence.
    sentences = re.split(r"(?<=\w{3}[.!?])\s+(?=[A-Z])", text.strip())
    return faults + (["more than one sentence"] if len(sentences) > 1 else [])

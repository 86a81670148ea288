"""Confirmations: one sentence that tells the user which event was noted, and the one rule that judges it."""

import json
import re

from smol_course.metrics import TITLE_F1, WEEKDAYS, _place, _words

LONGEST_CONFIRMATION = 25  # words
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))?\s*(?:([ap])\.?m\b\.?)?", re.IGNORECASE)


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

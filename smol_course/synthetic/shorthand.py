"""Days and clock times as people scribble them: reading all that a note says, and writing one in a given manner.

It reads English weekdays and times of day; dates, durations and "tomorrow" are none. A time without a half of the day
("7.30") is read on the 24-hour clock, as the messages' guide has it. What it cannot know: whether "sun" is the star.
"""

import re

# A row for each weekday: in full, three letters, the longer short form, two letters (but "mo" and "we" are words).
DAYS = {
    "monday": ("monday", "mon", "mon", "mon"),
    "tuesday": ("tuesday", "tue", "tues", "tu"),
    "wednesday": ("wednesday", "wed", "weds", "wed"),
    "thursday": ("thursday", "thu", "thurs", "th"),
    "friday": ("friday", "fri", "fri", "fr"),
    "saturday": ("saturday", "sat", "sat", "sa"),
    "sunday": ("sunday", "sun", "sun", "su"),
}
_OTHERS = {"thursday": ("thur",)}  # read, never written
_NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
_PARTS = {"quarter": 15, "half": 30, "ten": 10, "twenty": 20, "five": 5, "10": 10, "20": 20, "5": 5}
_HALF = r"(?P<half>\s?[ap]\.?\s?m\b\.?|[ap]\b)?(?P<later>\s(?:in the (?:morning|afternoon|evening)|at night))?"
_SPOKEN = re.compile(
    rf"\b(?P<part>quarter|half|ten|twenty|five|10|20|5) (?P<side>past|to) (?P<hour>\d{{1,2}})\b{_HALF}"
)
_RANGE = re.compile(
    r"\b(?P<first>\d{1,2}(?:[:.]\d\d)?)\s?(?P<half>[ap]m)?\s?(?:[-–—]|to|till|until)\s?"
    r"(?:(?P<last>\d{1,2})(?:[:.]\d\d)?\s?(?P<end>[ap]m)?\b(?![-\w])|noon\b|midday\b)"
)
_CLOCK = re.compile(
    r"(?<![\w:.£$€])(?:(?P<four>(?:[01]\d|2[0-3])[0-5]\d)"
    rf"|(?P<hour>\d{{1,2}})(?:[:.h](?P<minute>[0-5]\d)|(?P<sharp>h\b))?){_HALF}(?!\w|:\d)"
)


def day_words(message: str) -> list[tuple[str, int, int]]:
    """Return the weekdays that a message names, in order, as (day, start, end) with places in the text."""
    forms = {form: day for day, row in DAYS.items() for form in (*row, *_OTHERS.get(day, ()))}
    pattern = rf"\b({'|'.join(sorted(forms, key=len, reverse=True))})(?:s|day)?\b"
    matches = re.finditer(pattern, message.lower())
    return [(forms[match[1]], match.start(1), match.end(1)) for match in matches]


def days_said(message: str) -> set[str]:
    """Return the weekdays that a message names, as the events write them."""
    return {day for day, _, _ in day_words(message)}


def times_said(message: str) -> set[str]:
    """Return the clock times that a message says, as HH:MM. Of a range its start; a bare number is no time."""
    text = re.sub(r"\s+", " ", message.lower())
    for number, word in enumerate(_NUMBERS, 1):
        text = re.sub(rf"\b{word}\b", str(number), text)
    text = _RANGE.sub(_range_start, text)
    times = set()
    for match in _SPOKEN.finditer(text):
        times.add(_spoken(match))
    text = _SPOKEN.sub(" ", text)
    for match in _CLOCK.finditer(text):
        times.add(_clock(match))
    times |= {"12:00"} if re.search(r"\b(noon|midday)\b", text) else set()
    times |= {"00:00"} if re.search(r"\bmidnight\b", text) else set()
    return times - {None}


def _range_start(match: re.Match[str]) -> str:
    """The start of a range as a time of its own: "2-4pm" begins at 2pm, "11-1pm" at 11am."""
    half = match["half"] or match["end"] or ""
    hour = int(re.match(r"\d+", match["first"])[0])
    if half == "pm" and not match["half"] and hour % 12 > int(match["last"]) % 12:
        half = "am"
    return match["first"] + half


def _hours(hour: int, half: str | None, later: str | None) -> int | None:
    """The hour on the 24-hour clock, or None where there is no such hour."""
    word = (half or "").strip()[:1] or {"morning": "a", "noon": "p", "evening": "p", "night": "p"}.get(
        re.sub(r".*(morning|noon|evening|night)$", r"\1", (later or "").strip()), ""
    )
    if not word:
        return hour if hour < 24 else None
    return hour % 12 + 12 * (word == "p") if 1 <= hour <= 12 else None


def _spoken(match: re.Match[str]) -> str | None:
    hour = _hours(int(match["hour"]), match["half"], match["later"])
    if hour is None:
        return None
    minutes = hour * 60 + _PARTS[match["part"]] * (1 if match["side"] == "past" else -1)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _clock(match: re.Match[str]) -> str | None:
    if match["four"]:
        return f"{match['four'][:2]}:{match['four'][2:]}"
    if not (match["minute"] or match["sharp"] or match["half"] or match["later"]):
        return None
    hour = _hours(int(match["hour"]), match["half"], match["later"])
    return None if hour is None else f"{hour:02d}:{match['minute'] or '00'}"


# --- Writing ------------------------------------------------------------------------------------------------


def _twelve(start: str, separator: str, tail: str) -> str:
    hour, minute = int(start[:2]), start[3:]
    minutes = "" if minute == "00" else f"{separator}{minute}"
    return f"{(hour - 1) % 12 + 1}{minutes}{('am', 'pm')[hour >= 12] if tail == 'm' else ('a', 'p')[hour >= 12]}"


def _in_words(start: str) -> str | None:
    """As "quarter to 8 at night", for the quarters of an hour; else None."""
    hour, minute = int(start[:2]), int(start[3:])
    if minute not in (0, 15, 30, 45):
        return None
    later = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "at night" if hour > 20 else ""
    clock = (hour + (minute == 45) - 1) % 12 + 1
    part = {0: "", 15: "quarter past ", 30: "half past ", 45: "quarter to "}[minute]
    return None if hour in (0, 11, 12, 17, 20, 23) and minute == 45 else f"{part}{clock} {later or 'in the evening'}"


# Each manner of writing a time, from HH:MM; None where that manner cannot.
CLOCKS = {
    "7.30pm": lambda start: _twelve(start, ".", "m"),
    "7:30pm": lambda start: _twelve(start, ":", "m"),
    "7.30p": lambda start: _twelve(start, ".", ""),
    "19:30": lambda start: start,
    "19.30": lambda start: start.replace(":", "."),
    "1930": lambda start: start.replace(":", ""),
    "19h30": lambda start: start.replace(":", "h"),
    "19h": lambda start: f"{int(start[:2])}h" if start[3:] == "00" else None,
    "noon": lambda start: "noon" if start == "12:00" else None,
    "in words": _in_words,
}


def write_day(day: str, form: int, case: str) -> str:
    """Write a weekday in a form (a column of DAYS) and a case: "lower", "title" or "upper"."""
    return getattr(DAYS[day][form], case)()


def manner_of_day(written: str) -> tuple[int, str] | None:
    """Return (form, case) of a weekday as it is written, or None if it is in no manner known here."""
    cases = [case for case in ("lower", "title", "upper") if getattr(written, case)() == written]
    forms = [form for form in range(4) if any(row[form] == written.lower() for row in DAYS.values())]
    return (forms[0], cases[0]) if forms and cases else None


def manner_of_time(written: str, start: str) -> str | None:
    """Return the name in CLOCKS of the manner in which a time is written, or None."""
    return next((name for name, write in CLOCKS.items() if write(start) == written), None)

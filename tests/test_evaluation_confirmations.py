"""The rule for confirmations: each fault is named, and good sentences have none."""

import json

import pytest

from smol_course.evaluation.confirmations import confirmation_faults

DINNER = json.dumps(
    {"title": "team dinner", "day": "friday", "start": "19:30", "place": "The Luna", "people": ["Ana", "Bo"]}
)
BARE = json.dumps({"title": "yoga", "day": None, "start": None, "place": "studio 2", "people": []})


@pytest.mark.parametrize(
    "text",
    [
        "Team dinner with Ana and Bo is on Friday at 19:30, at the Luna.",
        "Noted: team dinner, Friday, 7.30 p.m. at Luna with Bo and Ana!",
        "DINNER with Ana and Bo at 7:30pm on friday at The Luna",
    ],
)
def test_a_good_confirmation_has_no_faults(text: str) -> None:
    assert confirmation_faults(text, DINNER) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Lunch with Ana and Bo is on Friday at 19:30, at the Luna.", "no title"),
        ("Team dinner with Ana and Bo at 19:30, at the Luna.", "no day"),
        ("Team dinner with Ana and Bo, Thursday at 19:30, at the Luna.", "wrong day"),
        ("Team dinner with Ana and Bo, Thursday or Friday at 19:30, at the Luna.", "wrong day"),
        ("Team dinner with Ana and Bo on Friday at the Luna.", "no start"),
        ("Team dinner with Ana and Bo on Friday at 7:30 am, at the Luna.", "wrong start"),
        ("Team dinner with Ana and Bo on Friday at 19:30.", "no place"),
        ("Team dinner with Ana and Bo on Friday at 19:30 at the Lunatic.", "no place"),
        ("Team dinner with Ana on Friday at 19:30, at the Luna.", "no people"),
        ("Team dinner with Anabel and Bo on Friday at 19:30, at the Luna.", "no people"),
        ("Team dinner with Ana and Bo, Friday 19:30, the Luna. See you there!", "more than one sentence"),
        ("Team dinner with Ana and Bo is on Friday at 19:30, at the Luna, " + "so " * 20, "too long"),
    ],
)
def test_each_fault_of_a_confirmation_is_named(text: str, fault: str) -> None:
    assert confirmation_faults(text, DINNER) == [fault]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("Yoga is in studio 2.", []),
        ("Yoga is in studio 2 on Monday.", ["invented day"]),
        ("Yoga is in studio 2 at noon.", ["invented start"]),
        ("Yoga is in studio 2 at 5pm.", ["invented start"]),
        ("", ["no title", "no place"]),
    ],
)
def test_a_confirmation_may_invent_no_day_or_time(text: str, faults: list[str]) -> None:
    assert confirmation_faults(text, BARE) == faults


@pytest.mark.parametrize(
    ("start", "said"), [("12:30", "12:30 pm"), ("12:00", "12 p.m."), ("00:30", "12:30 am"), ("19:30", "7.30 p.m.")]
)
def test_the_clock_knows_the_twelves(start: str, said: str) -> None:
    """12 p.m. is noon, 12 a.m. is midnight."""
    event = DINNER.replace("19:30", start)
    text = "Team dinner with Ana and Bo is on Friday at {}, at the Luna."
    assert confirmation_faults(text.format(said), event) == []
    other = said.replace("p", "x").replace("a", "p").replace("x", "a")
    assert confirmation_faults(text.format(other), event) == ["wrong start"]


def test_a_copy_of_the_event_confirms_nothing() -> None:
    assert confirmation_faults(DINNER, DINNER) == ["no sentence"]


def test_no_event_cannot_be_confirmed() -> None:
    with pytest.raises(ValueError, match="no event"):
        confirmation_faults("Nothing.", "null")

"""The page: what its handler does, and the page itself over HTTP, as a browser's client would use it."""

import importlib.util
import json
from pathlib import Path

import pytest

from smol_course.agents.calendar import Calendar
from smol_course.agents.page import EXAMPLES, HEADERS, LONGEST, build, launch, respond, rows_of

GRADIO = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed")


def books_a_walk(conversations: list) -> list[str]:
    """A model that adds a walk, then says so."""
    call = {"name": "add_event", "arguments": {"title": "walk", "day": "sunday", "start": "10:00"}}
    last = {"name": "final_answer", "arguments": {"answer": "A walk on Sunday."}}
    return [json.dumps(last if turns[-1]["role"] == "tool" else call) for turns in conversations]


def test_a_message_changes_the_week_and_the_steps_are_shown() -> None:
    calendar = Calendar.of(EXAMPLES)
    answer, steps, rows = respond(books_a_walk, calendar, "Walk on Sunday at ten")
    assert answer == "A walk on Sunday." and "→ " in steps and "added 4: walk, sunday 10:00" in steps
    assert rows == rows_of(calendar) and len(rows) == 4 and all(len(row) == len(HEADERS) for row in rows)


@pytest.mark.parametrize("message", ["", "   ", "x" * (LONGEST + 1)])
def test_a_message_that_is_none_costs_nothing(message: str) -> None:
    def never(conversations: list) -> list[str]:
        raise AssertionError("the model was asked")

    answer, steps, rows = respond(never, Calendar.of(EXAMPLES), message)
    assert answer == f"Write a message of 1 to {LONGEST} characters." and steps == "" and len(rows) == 3


@GRADIO
def test_the_page_answers_on_this_machine_only(tmp_path: Path) -> None:
    import httpx
    from gradio_client import Client

    calendar = Calendar.of(EXAMPLES, tmp_path / "week.db")
    page = build(books_a_walk, calendar)
    try:
        address = launch(page)
        assert address.startswith("http://127.0.0.1:") and page.share_url is None
        html = httpx.get(address).text
        assert "googleapis" not in html and "Pocket organiser" in html
        answer, steps, week = Client(address, verbose=False).predict("Walk on Sunday at ten", api_name="/send")
    finally:
        page.close(verbose=False)
    assert answer == "A walk on Sunday." and "added 4" in steps and len(week["data"]) == 4
    assert [event.title for event in calendar.events("sunday")] == ["walk"]

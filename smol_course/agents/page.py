"""A page to try the organiser: a message on the left, the week on the right, and below what the agent did.

    python -m smol_course.agents.page                  # a week of examples, forgotten at the end
    python -m smol_course.agents.page my_week.db       # a week in a file

It listens on this machine only, and asks nobody else for anything. One message at a time: there is one model. The
model is loaded by `smol_course.evaluation`.
"""

import argparse
import os
from typing import Any

from smol_course.agents.agent import Ask, SmallModel, agent_for, run_agent
from smol_course.agents.calendar import Calendar
from smol_course.agents.tools import Guard, Toolbox
from smol_course.errors import CourseError

LONGEST = 600  # characters of a message
HEADERS = ["no.", "day", "start", "title", "place", "people"]
EXAMPLES = (
    {"title": "dentist", "day": "tuesday", "start": "09:00", "place": "Elm Clinic"},
    {"title": "team meeting", "day": "wednesday", "start": "10:00", "place": "Zoom", "people": ["Ben", "Clara"]},
    {"title": "gym", "day": "friday", "start": "18:00"},
)


def rows_of(calendar: Calendar) -> list[list[Any]]:
    """Return the week as rows of the page's table, in its order."""
    return [[e.id, e.day, e.start, e.title, e.place or "", ", ".join(e.people)] for e in calendar.events()]


def respond(ask: Ask, calendar: Calendar, message: str, form: str = "json") -> tuple[str, str, list[list[Any]]]:
    """Let the agent work on a message; return what it said, what it did, and the week then."""
    message = message.strip()
    if not message or len(message) > LONGEST:
        return f"Write a message of 1 to {LONGEST} characters.", "", rows_of(calendar)
    guard = Guard()
    agent = agent_for(Toolbox(calendar).functions(), SmallModel(ask, form), guard, form)
    run = run_agent(agent, guard, message)
    return run.said, str(run), rows_of(calendar)


def build(ask: Ask, calendar: Calendar, form: str = "json") -> Any:
    """Return the page as gradio Blocks. Raises CourseError if gradio is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: nothing is phoned home
    try:
        import gradio
    except ImportError as error:
        raise CourseError("The page needs gradio: install it with `uv sync`, or `pip install gradio`.") from error

    def send(message: str) -> tuple[str, str, list[list[Any]]]:
        return respond(ask, calendar, message, form)

    with gradio.Blocks(title="Pocket organiser", analytics_enabled=False) as page:
        gradio.Markdown("# Pocket organiser\nA small model keeps a calendar with tools. It makes mistakes.")
        with gradio.Row():
            with gradio.Column():
                message = gradio.Textbox(label="Message", lines=3, placeholder="Dinner with Ana at Luna, Fri 7.30pm?")
                button = gradio.Button("Send", variant="primary")
                said = gradio.Textbox(label="It says", interactive=False)
            week = gradio.Dataframe(rows_of(calendar), headers=HEADERS, label="The week", interactive=False)
        steps = gradio.Textbox(label="What it did: → calls, ← what the tools said", lines=6, interactive=False)
        shared = {"inputs": message, "outputs": [said, steps, week], "concurrency_limit": 1}
        button.click(send, **shared, concurrency_id="model", api_name="send")
        message.submit(send, **shared, concurrency_id="model", api_name=False)
        # Another window may have changed the week.
        page.load(lambda: rows_of(calendar), outputs=week, api_name=False)
    return page


def launch(page: Any, port: int | None = None, wait: bool = False) -> str:
    """Serve the page on this machine and return its address; ``wait`` keeps serving until it is interrupted."""
    import gradio

    theme = gradio.themes.Base(font=["sans-serif"], font_mono=["monospace"])  # no fonts from elsewhere
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        inline=False,
        inbrowser=False,
        quiet=not wait,
        prevent_thread_lock=not wait,
        ssr_mode=False,
        theme=theme,
        footer_links=[],
    )
    return address


def main() -> None:
    """Load the adapter that calls tools, and serve the page."""
    from smol_course.agents.agent import asker, call_mask
    from smol_course.agents.tools import final_answer
    from smol_course.evaluation.suite import load

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calendar", nargs="?", help="the SQLite file of the week; made if it is not there")
    parser.add_argument("--port", type=int, help="else a free one from 7860 on")
    given = parser.parse_args()
    calendar = Calendar(given.calendar) if given.calendar else Calendar.of(EXAMPLES)
    model, tokenizer = load("organiser_tools")
    functions = [*Toolbox(calendar).functions(), final_answer]
    ask = asker(model, tokenizer, mask=call_mask(tokenizer, functions, model.config.vocab_size))
    launch(build(ask, calendar), given.port, wait=True)


if __name__ == "__main__":
    main()

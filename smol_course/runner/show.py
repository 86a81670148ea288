"""What the learner sees in the terminal: live progress, a failure, and the results in words."""

import os
import re
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from smol_course.runner.words import Record, Result, duration, is_share, results, value

PLAIN_EVERY = 15.0  # seconds between two progress lines where there is no terminal
FEW = 4  # up to so many notebooks, each gets its bars; more get a line each


def say(console: Console, text: str) -> None:
    """Print a line that is never cut (a terminal wraps it, a log keeps it whole); paths begin where the learner is."""
    console.print(text.replace(f"{Path.cwd()}{os.sep}", ""), soft_wrap=True)


def fold(console: Console, text: str, indent: str = "", style: str | None = None) -> None:
    """Print a sentence; a terminal breaks it between words, and never between a number and its sign."""
    width = console.width if console.is_terminal else 10**6
    whole = re.sub(r"(?<=\d) (?=%|messages)|(?<=\bn) (?== )|(?<=\bn =) ", "\u00a0", text)
    folded = textwrap.fill(whole, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    console.print(folded.replace("\u00a0", " "), soft_wrap=True, style=style)


@contextmanager
def watching(console: Console, title: str, node: NotebookNode) -> Iterator[Callable[[int], None]]:
    """Show which cell runs and the time gone, in a terminal or by plain lines. Yields the ``on_cell`` of `execute`."""
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in node.cells)
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[cell]}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title, total=cells, cell="starting")
            yield lambda k: progress.update(task, completed=k - 1, cell=f"cell {k} of {cells}")
        return
    say(console, f"{title}: {cells} cells")
    started = said = time.monotonic()

    def on_cell(k: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PLAIN_EVERY:
            said = time.monotonic()
            say(console, f"{title}: cell {k} of {cells}, {duration(said - started)} gone")

    yield on_cell


def show_failure(console: Console, name: str, failure: dict[str, Any], kept: Path) -> None:
    """Say in a few lines which notebook failed, where, with what message (a `kernel.Failure`), and where to look."""
    say(console, f"{name} failed in cell {failure['cell']} of {failure['of']}:")
    say(console, f"    {failure['line']}\n{failure['message']}\nThe notebook as far as it got: {kept}")


def show_results(console: Console, found: dict[str, list[Record]]) -> None:
    """Say what came out of each notebook, or run of a study, by its records: a sentence, with bars if they are few."""
    widest = max(map(len, found), default=0)
    for name, records in found.items():
        said = results(records)[: 2 if len(found) == 1 else 1]
        said = [result for result in said if result.rank == said[0].rank]
        if len(found) > FEW or not said:
            fold(console, f"{name:{widest}}  {said[0] if said else 'No number recorded.'}", " " * 4)
            continue
        fold(console, name)
        for result in said:
            fold(console, f"  {result}", " " * 4, "bold")
            _bars(console, result)


def _bars(console: Console, result: Result) -> None:
    """A bar for each share: up to its value, then in a lighter tone up to where its interval ends."""
    full, light = "█░" if console.is_terminal and console.encoding.startswith("utf") else "#-"
    width = min(50, console.width - 20)
    for label, record in result.records.items():
        if is_share(record):
            filled = round(record["value"] * width)
            reach = full * filled + light * (round((record.get("high") or 0) * width) - filled)
            say(console, f"    {label:6} {reach:{width}} {value(record):>5}")

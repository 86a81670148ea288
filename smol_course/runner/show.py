"""What the learner sees: live progress, and the tables of costs and results."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from smol_course.runner.kernel import Execution, Failure, execute

Rows = list[tuple[str, ...]]
PLAIN_EVERY = 15.0  # seconds between two progress lines where there is no terminal


def say(console: Console, text: str) -> None:
    """Print a line that is never cut: a terminal wraps it, a log file keeps it whole."""
    console.print(text, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``42 s``, ``2.4 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def memory(megabytes: float) -> str:
    """Return a size as people say it: ``420 MB``, ``1.9 GB``."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


@contextmanager
def _watching(console: Console, title: str, cells: int) -> Iterator[Callable[[int], None]]:
    """Show which cell runs and the time gone; without a terminal a plain line now and then."""
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[cell]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
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


def execute_watched(
    console: Console, title: str, node: NotebookNode, folder: Path, env: dict[str, str], root: Path | None = None
) -> Execution:
    """Execute a notebook as `kernel.execute` does, with live progress under the title, and a line when it is done."""
    cells = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in node.cells)
    with _watching(console, title, cells) as on_cell:
        done = execute(node, folder, env, on_cell, root=root)
    if not done.failure:
        say(console, f"{title}: done in {duration(done.seconds)}, at most {memory(done.peak_mb)}")
    return done


def show_failure(console: Console, name: str, failure: Failure, kept: Path) -> None:
    """Say in a few lines which notebook failed, where, with what message, and where to look."""
    say(console, f"{name} failed in cell {failure.cell} of {failure.of}:")
    say(console, f"    {failure.line}")
    say(console, failure.message)
    say(console, f"The notebook as far as it got: {kept}")


def _number(record: dict[str, Any] | None) -> str:
    if record is None:
        return ""
    span = f" ({record['low']:.3g} to {record['high']:.3g})" if record.get("low") is not None else ""
    return f"{record['value']:.4g}{span}"


def before_after(results: dict[str, list[dict[str, Any]]]) -> Rows:
    """Return the rows (notebook, what, before, after, n) of the records ``before_X`` and ``after_X``.

    ``results`` has for each notebook or run what it recorded. Where one of the two is missing, its place is empty.
    """
    rows = []
    for notebook, records in results.items():
        by_name = {record["name"]: record for record in records}
        pairs = dict.fromkeys(name.split("_", 1)[1] for name in by_name if name.startswith(("before_", "after_")))
        for what in pairs:
            before, after = by_name.get(f"before_{what}"), by_name.get(f"after_{what}")
            sizes = dict.fromkeys(str(r["n"]) for r in (before, after) if r and r.get("n") is not None)
            rows.append((notebook, what.replace("_", " "), _number(before), _number(after), " / ".join(sizes)))
    return rows


def other_results(results: dict[str, list[dict[str, Any]]]) -> Rows:
    """Return the rows (notebook, what, value, n) of all other records."""
    return [
        (notebook, record["name"].replace("_", " "), _number(record), str(record.get("n") or ""))
        for notebook, records in results.items()
        for record in records
        if not record["name"].startswith(("before_", "after_"))
    ]


def cost_rows(entries: dict[str, dict[str, Any]]) -> Rows:
    """Return the rows (notebook, time, peak memory, status) of a run's state."""
    return [
        (name, duration(entry["seconds"]), memory(entry["peak_mb"]), entry["status"]) for name, entry in entries.items()
    ]


COSTS = ("notebook", "time", "peak memory", "status")
BEFORE_AFTER = ("notebook", "what", "before", "after", "n")
OTHERS = ("notebook", "what", "value", "n")


def show_table(console: Console, title: str, header: tuple[str, ...], rows: Rows) -> None:
    """Print a table, or nothing if it has no rows."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)

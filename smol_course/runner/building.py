"""``smol build``: execute notebooks, write them with their outputs, costs and hashes, and refill the tables.

What it writes goes into git, so it refuses what must not: errors, paths of this machine, too many bytes, and the loss
of what someone wrote into a notebook instead of its source.
"""

import shutil
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.files import save_text
from smol_course.hardware import describe_short as machine
from smol_course.runner import show, staleness
from smol_course.runner.clean import tidy, unfit
from smol_course.runner.running import executed, kept_at, label, new_folder
from smol_course.runner.sources import Notebook, notebooks, read_ipynb
from smol_course.runner.text import refresh_text


def take_notebook(notebook: Notebook) -> None:
    """Make the cells of the ``.ipynb`` the text source's cells; the source's header stays. Nothing is executed."""
    source = notebook.read()
    source.cells = tidy(read_ipynb(notebook.ipynb), {}).cells
    save_text(notebook.source, jupytext.writes(source, fmt="py:percent"))


def _write(notebook: Notebook, node: NotebookNode, metadata: dict[str, Any]) -> None:
    """Write the executed notebook, with its costs and what its outputs rest on."""
    node = tidy(node, metadata | {"cells_sha256": staleness.cells_sha256(node.cells)})
    reason = unfit(node, notebook.root)
    if reason:
        raise CourseError(f"{notebook.name} is not fit for git: {reason}.")
    nbformat.validate(node)
    text = nbformat.writes(node) + "\n"
    if not notebook.ipynb.is_file() or notebook.ipynb.read_text(encoding="utf-8") != text:
        save_text(notebook.ipynb, text)


def keep_outputs(notebook: Notebook) -> None:
    """Write the notebook anew from its text source with the outputs, costs and hashes that it has.

    For a source of which the code does what it did: each working cell keeps its outputs, in order.
    """
    built, node = read_ipynb(notebook.ipynb), notebook.read()
    for cell, old in zip(staleness.working(node.cells), staleness.working(built.cells), strict=True):
        cell.outputs = old.outputs
    code = (cell for cell in node.cells if cell.cell_type == "code" and cell.source.strip())
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    _write(notebook, node, staleness.recorded(notebook))


def build(targets: list[str], text_only: bool, take: bool, hub: bool, fresh: bool, console: Console) -> int:
    """Build the notebooks that the targets name (none: all), then the generated text; return the exit status.

    A notebook of which only text, comments or layout changed keeps its outputs and costs, unless ``fresh``.
    ``text_only`` executes nothing; ``take`` first copies edited notebooks into their text sources. Raises CourseError
    for an unknown target, an edited notebook, or outputs that are not fit for git.
    """
    if not text_only:
        chosen = notebooks(targets)
        for notebook in filter(staleness.edited, chosen):
            if not take:
                place = notebook.ipynb.relative_to(notebook.root).as_posix()
                raise CourseError(
                    f"{place} was edited, which building would lose: `smol build {notebook.name} --take-notebook`"
                    " copies its cells into the text source; to drop them, delete the notebook."
                )
            take_notebook(notebook)
        status = _build_all(_to_execute(chosen, fresh, console), targets, hub, console)
        if status:
            return status
    changed = refresh_text(write=True)
    show.say(console, f"Generated text: {', '.join(changed) + ' changed' if changed else 'nothing to change'}.")
    return 0


def _to_execute(chosen: list[Notebook], fresh: bool, console: Console) -> list[Notebook]:
    """The notebooks whose outputs must be made anew; the others are written with those that they have."""
    reasons = {notebook: "--fresh" if fresh else staleness.outputs_stand(notebook) for notebook in chosen}
    for notebook, reason in reasons.items():
        if not reason:
            keep_outputs(notebook)
            show.say(console, f"Outputs kept, as the code does what it did: {notebook.name} (--fresh runs it).")
        elif not fresh:
            show.say(console, f"{notebook.name} runs: {reason}.")
    return [notebook for notebook, reason in reasons.items() if reason]


def _build_all(chosen: list[Notebook], targets: list[str], hub: bool, console: Console) -> int:
    if not chosen:
        return 0
    folder = new_folder(f"build-{label(targets)}")
    for number, notebook in enumerate(chosen, start=1):
        node = notebook.read()
        rests = {
            "sources_sha256": staleness.sources_sha256(notebook),
            "requirements_sha256": staleness.requirements_sha256(notebook.root),
            "package": staleness.package_of(notebook),
            "machine": machine(),
        }
        try:
            entry = executed(notebook, node, f"{number}/{len(chosen)} {notebook.name}", folder, hub, console)
        except KeyboardInterrupt:
            show.say(console, f"Stopped in {notebook.name}, whose outputs stay as they were.")
            raise
        if failure := entry.pop("failure"):
            show.show_failure(console, notebook.name, failure, kept_at(folder, notebook))
            return 1
        _write(notebook, node, entry | rests)
    shutil.rmtree(folder, ignore_errors=True)
    return 0

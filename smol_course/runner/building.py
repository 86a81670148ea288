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


def _write(notebook: Notebook, node: NotebookNode, metadata: dict[str, Any]) -> None:
    """Write the executed notebook, with its costs and what its outputs rest on."""
    node = tidy(node, metadata | {"cells_sha256": staleness.cells_sha256(node.cells)})
    if reason := unfit(node, notebook.root):
        raise CourseError(f"{notebook.name} is not fit for git: {reason}.")
    nbformat.validate(node)
    text = nbformat.writes(node) + "\n"
    if not notebook.ipynb.is_file() or notebook.ipynb.read_text(encoding="utf-8") != text:
        save_text(notebook.ipynb, text)


def keep_outputs(notebook: Notebook) -> None:
    """Write a notebook, whose code does what it did, anew from its text source: each working cell keeps its outputs."""
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

    A notebook of which only text, comments or layout changed keeps its outputs and costs, unless ``fresh``. Raises
    CourseError for an unknown target, an edited notebook (unless ``take``), or outputs that are not fit for git.
    """
    if not text_only:
        chosen = notebooks(targets)
        for notebook in filter(staleness.edited, chosen):
            if not take:
                lost = f"{notebook.ipynb.relative_to(notebook.root).as_posix()} was edited, which building would lose"
                takes = f"`smol build {notebook.name} --take-notebook` copies its cells into the text source"
                raise CourseError(f"{lost}: {takes}; to drop them, delete the notebook.")
            source = notebook.read()  # whose header stays
            source.cells = tidy(read_ipynb(notebook.ipynb), {}).cells
            save_text(notebook.source, jupytext.writes(source, fmt="py:percent"))
        folder = new_folder(f"build-{label(targets)}")
        for number, notebook in enumerate(chosen, start=1):
            reason = "--fresh" if fresh else staleness.outputs_stand(notebook)
            if not reason:
                keep_outputs(notebook)
                show.say(console, f"Outputs kept, as the code does what it did: {notebook.name} (--fresh runs it).")
                continue
            show.say(console, f"{notebook.name} runs: {reason}.")
            node = notebook.read()
            rests = {
                "sources_sha256": staleness.sources_sha256(notebook),
                "requirements_sha256": staleness.requirements_sha256(notebook.root),
                "package": staleness.package_of(notebook),
                "machine": machine(),
            }
            title, stopped = f"{number}/{len(chosen)} {notebook.name}", "its outputs stay as they were."
            entry = executed(notebook, node, title, f"Stopped in {notebook.name}: {stopped}", folder, hub, console)
            if failure := entry.pop("failure"):
                show.show_failure(console, notebook.name, failure, kept_at(folder, notebook))
                return 1
            _write(notebook, node, entry | rests)
        shutil.rmtree(folder, ignore_errors=True)
    changed = refresh_text(write=True)
    show.say(console, f"Generated text: {', '.join(changed) + ' changed' if changed else 'nothing to change'}.")
    return 0

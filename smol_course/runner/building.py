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
from smol_course.runner import show
from smol_course.runner.clean import strip_residue, tidy, unfit
from smol_course.runner.kernel import Execution, environment
from smol_course.runner.running import INTERRUPTED, label, new_folder
from smol_course.runner.sources import Notebook, notebooks, read_ipynb, tags
from smol_course.runner.staleness import (
    cells_sha256,
    edited,
    opened_hashes,
    outputs_stand,
    package_of,
    recorded,
    requirements_sha256,
    sources_sha256,
    working,
)
from smol_course.runner.text import refresh_text


def machine() -> str:
    """Return this machine in a few words, for the costs measured on it."""
    from smol_course.hardware import describe_short

    return describe_short()


def take_notebook(notebook: Notebook) -> None:
    """Make the cells of the ``.ipynb`` the text source's cells; the source's header stays. Nothing is executed."""
    source = notebook.read()
    edited_cells = read_ipynb(notebook.ipynb).cells
    source.cells = [
        nbformat.from_dict(
            {
                "cell_type": c.cell_type,
                "source": c.source,
                "metadata": {"tags": sorted(tags(c))} if tags(c) else {},
            }
        )
        for c in edited_cells
    ]
    save_text(notebook.source, jupytext.writes(source, fmt="py:percent"))


def _refuse_edited(chosen: list[Notebook]) -> None:
    for notebook in chosen:
        if edited(notebook):
            place = notebook.ipynb.relative_to(notebook.root).as_posix()
            raise CourseError(
                f"{place} was edited, which building would lose: `smol build {notebook.name} --take-notebook`"
                " copies its cells into the text source; to drop them, delete the notebook."
            )


def _written(notebook: Notebook, sources: str, done: Execution) -> None:
    """Write the executed notebook, with its costs and what its outputs rest on."""
    metadata: dict[str, Any] = {
        "sources_sha256": sources,
        "requirements_sha256": requirements_sha256(notebook.root),
        "cells_sha256": cells_sha256(done.node.cells),
        "opened": opened_hashes(done.opened, notebook.root),
        "package": package_of(notebook),
        "seconds": round(done.seconds, 1),
        "peak_mb": done.peak_mb,
        "machine": machine(),
        "results": done.results,
    }
    _write(notebook, done.node, metadata)


def _write(notebook: Notebook, node: NotebookNode, metadata: dict[str, Any]) -> None:
    node = tidy(node, metadata)
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
    for cell, old in zip(working(node.cells), working(built.cells), strict=True):
        cell.outputs = old.outputs
    code = (cell for cell in node.cells if cell.cell_type == "code" and cell.source.strip())
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    _write(notebook, node, recorded(notebook) | {"cells_sha256": cells_sha256(node.cells)})


def build(targets: list[str], text_only: bool, take: bool, hub: bool, fresh: bool, console: Console) -> int:
    """Build the notebooks that the targets name (none: all), then the generated text; return the exit status.

    A notebook of which only text, comments or layout changed keeps its outputs and costs, unless ``fresh``.
    ``text_only`` executes nothing; ``take`` first copies edited notebooks into their text sources. Raises CourseError
    for an unknown target, an edited notebook, or outputs that are not fit for git.
    """
    if not text_only:
        chosen = notebooks(targets)
        if take:
            for notebook in filter(edited, chosen):
                take_notebook(notebook)
        _refuse_edited(chosen)
        status = _build_all(_to_execute(chosen, fresh, console), targets, hub, console)
        if status:
            return status
    changed = refresh_text(write=True)
    show.say(console, f"Generated text: {', '.join(changed) + ' changed' if changed else 'nothing to change'}.")
    return 0


def _to_execute(chosen: list[Notebook], fresh: bool, console: Console) -> list[Notebook]:
    """The notebooks whose outputs must be made anew; the others are written with those that they have."""
    reasons = {notebook: "--fresh" if fresh else outputs_stand(notebook) for notebook in chosen}
    kept = [notebook for notebook, reason in reasons.items() if not reason]
    for notebook in kept:
        keep_outputs(notebook)
    if kept:
        names = ", ".join(notebook.name for notebook in kept)
        show.say(console, f"Outputs kept, as the code does what it did: {names} (--fresh runs them).")
    for notebook, reason in reasons.items():
        if reason and not fresh:
            show.say(console, f"{notebook.name} runs: {reason}.")
    return [notebook for notebook, reason in reasons.items() if reason]


def _build_all(chosen: list[Notebook], targets: list[str], hub: bool, console: Console) -> int:
    if not chosen:
        return 0
    folder = new_folder(f"build-{label(targets)}")
    for number, notebook in enumerate(chosen, start=1):
        sources, node = sources_sha256(notebook), notebook.read()
        kept = folder / f"{notebook.name.replace('/', '-')}.ipynb"
        title = f"{number}/{len(chosen)} {notebook.name}"
        try:
            env = environment(folder, hub)
            done = show.execute_watched(console, title, node, notebook.source.parent, env, notebook.root)
        except KeyboardInterrupt:
            show.say(console, f"Stopped in {notebook.name}, whose outputs stay as they were.")
            return INTERRUPTED
        save_text(kept, nbformat.writes(strip_residue(node)))
        if done.failure:
            show.show_failure(console, notebook.name, done.failure, kept)
            return 1
        _written(notebook, sources, done)
    shutil.rmtree(folder, ignore_errors=True)
    return 0

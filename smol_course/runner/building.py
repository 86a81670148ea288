"""``smol build``: execute notebooks, write them with their outputs, costs and hashes, and refill the tables.

What it writes goes into git, so it refuses what must not: errors, paths of this machine, too many bytes, and
the loss of what someone wrote into a notebook instead of its source.
"""

import shutil
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.files import save_text
from smol_course.runner import show
from smol_course.runner.clean import strip_residue, tidy, unfit
from smol_course.runner.kernel import Execution, environment, hub_wanted
from smol_course.runner.running import INTERRUPTED, label, new_folder
from smol_course.runner.sources import (
    Notebook,
    cells_sha256,
    edited,
    notebooks,
    requirements_sha256,
    sources_sha256,
    tags,
)
from smol_course.runner.text import refresh_text


def machine() -> str:
    """Return this machine in a few words, for the costs measured on it."""
    from smol_course.hardware import describe_short

    return describe_short()


def take_notebook(notebook: Notebook) -> None:
    """Make the cells of the ``.ipynb`` the text source's cells; the source's header stays. Nothing is
    executed."""
    source = notebook.read()
    edited_cells = nbformat.read(notebook.ipynb, as_version=4).cells
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
    metadata: dict[str, Any] = {
        "sources_sha256": sources,
        "requirements_sha256": requirements_sha256(notebook.root),
        "cells_sha256": cells_sha256(done.node.cells),
        "seconds": round(done.seconds, 1),
        "peak_mb": done.peak_mb,
        "machine": machine(),
        "results": done.results,
    }
    node = tidy(done.node, metadata)
    reason = unfit(node, notebook.root)
    if reason:
        raise CourseError(f"{notebook.name} is not fit for git: {reason}.")
    nbformat.validate(node)
    save_text(notebook.ipynb, nbformat.writes(node) + "\n")


def build(targets: list[str], text_only: bool, take: bool, hub: bool, console: Console) -> int:
    """Build the notebooks that the targets name (none: all), then the generated text; return the exit status.

    ``text_only`` executes nothing; ``take`` first copies edited notebooks into their text sources. Raises
    CourseError for an unknown target, an edited notebook, or outputs that are not fit for git.
    """
    if not text_only:
        chosen = notebooks(targets)
        if take:
            for notebook in filter(edited, chosen):
                take_notebook(notebook)
        _refuse_edited(chosen)
        folder = new_folder(f"build-{label(targets)}")
        status = _build_all(chosen, folder, hub_wanted(hub), console)
        if status:
            return status
        shutil.rmtree(folder, ignore_errors=True)
    changed = refresh_text(write=True)
    show.say(console, f"Generated text: {', '.join(changed) + ' changed' if changed else 'nothing to change'}.")
    return 0


def _build_all(chosen: list[Notebook], folder: Path, hub: bool, console: Console) -> int:
    for number, notebook in enumerate(chosen, start=1):
        sources, node = sources_sha256(notebook), notebook.read()
        kept = folder / f"{notebook.name.replace('/', '-')}.ipynb"
        title = f"{number}/{len(chosen)} {notebook.name}"
        try:
            done = show.execute_watched(console, title, node, notebook.source.parent, environment(folder, hub))
        except KeyboardInterrupt:
            show.say(console, f"Stopped in {notebook.name}, whose outputs stay as they were.")
            return INTERRUPTED
        save_text(kept, nbformat.writes(strip_residue(node)))
        if done.failure:
            show.show_failure(console, notebook.name, done.failure, kept)
            return 1
        _written(notebook, sources, done)
    return 0

"""``smol check``: run a learner's exercise cells, with the setup they need and nothing else, and say the answers."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.runner import show
from smol_course.runner.kernel import environment, execute, hub_wanted
from smol_course.runner.sources import notebooks, tags

CHECK = "application/vnd.smol.check+json"
_NEEDED = {"parameters", "setup", "exercise", "check"}


def _opened(target: str) -> tuple[NotebookNode, Path]:
    """The learner's notebook and its folder; a target such as 1/chat_templates means the notebook in its module."""
    path = Path(target)
    if path.suffix == ".ipynb":
        if not path.is_file():
            raise CourseError(f"There is no notebook {target}: give its path, or a name such as 1/chat_templates.")
    else:
        chosen = notebooks([target])
        if len(chosen) != 1:
            raise CourseError(f"Check one notebook at a time: {', '.join(n.name for n in chosen)}.")
        path = chosen[0].ipynb
        if not path.is_file():
            return chosen[0].read(), chosen[0].source.parent
    try:
        return nbformat.read(path, as_version=4), path.parent
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, ValueError) as error:
        raise CourseError(f"{target} is not a notebook that can be read: save it again in Jupyter.") from error


def _error(cell: NotebookNode) -> str | None:
    raised = next((output for output in cell.outputs if output.output_type == "error"), None)
    return f"{raised.ename}: {raised.evalue}" if raised else None


def check(target: str, console: Console) -> int:
    """Check a learner's notebook, print each answer, and return 0 if every exercise is solved, else 1.

    Raises CourseError if there is no such notebook, it has no check cells, or its setup cells fail.
    """
    node, folder = _opened(target)
    node.cells = [cell for cell in node.cells if cell.cell_type == "code" and tags(cell) & _NEEDED]
    for cell in node.cells:
        cell.outputs = []
    if not any("check" in tags(cell) for cell in node.cells):
        raise CourseError(f"{target} has no check cells: they were deleted, or it is not a notebook of this course.")
    try:
        done = execute(node, folder, environment(None, hub_wanted(False)), keep_going=True)
    except KeyboardInterrupt:
        return 130
    solved = True
    for cell in node.cells:
        error = _error(cell)
        if error and tags(cell) & {"parameters", "setup"}:
            raise CourseError(f"The setup of {target} does not run, so nothing can be checked: {error}")
        if error:
            show.say(console, f"Your cell that begins `{cell.source.strip().splitlines()[0]}` fails: {error}")
        solved = _answered(cell, console) and solved and not error
    if done.failure and "process was killed" in done.failure.message:
        raise CourseError(f"Checking {target} ended early: {done.failure.message}.")
    return 0 if solved else 1


def _answered(cell: NotebookNode, console: Console) -> bool:
    """Print the answers that a cell's checks gave; a check cell without any is not solved."""
    answers = [output.data for output in cell.outputs if CHECK in output.get("data", {})]
    for answer in answers:
        show.say(console, f"{answer[CHECK]['exercise']}: {answer['text/plain']}")
    right = all(answer[CHECK]["verdict"] == "right" for answer in answers)
    return right and (bool(answers) or "check" not in tags(cell))

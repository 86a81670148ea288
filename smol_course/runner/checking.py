"""``smol check``: run a learner's exercise cells, with the setup they need and nothing else, and say the answers."""

from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.exercises import read_answer
from smol_course.runner import show
from smol_course.runner.kernel import environment, execute, said
from smol_course.runner.sources import one_notebook, read_ipynb, tags

_SETUP = {"parameters", "setup"}
# Setup may load a model, or fetch one. An exercise cell defines a function or a few values, and a check has a limit of
# 10 seconds of its own, which one call into C escapes.
SETUP_SECONDS, SECONDS = 900, 60


def check(target: str, console: Console) -> int:
    """Check a learner's notebook, print each answer and return 0 if all are right, else 1. Raises CourseError."""
    path, notebook = Path(target), None
    if path.suffix != ".ipynb":
        notebook = one_notebook(target)
        path = notebook.ipynb
    elif not path.is_file():
        raise CourseError(f"There is no notebook {target}: give its path, or a name such as 1/chat_templates.")
    node = notebook.read() if notebook and not path.is_file() else read_ipynb(path)
    cells = [cell for cell in node.cells if cell.cell_type == "code" and tags(cell) & {*_SETUP, "exercise", "check"}]
    if not any("check" in tags(cell) for cell in cells):
        raise CourseError(f"{target} has no check cells: they were deleted, or it is not a notebook of this course.")
    for cell in cells:
        cell.outputs = []
    many = sum("exercise" in tags(cell) for cell in cells)
    ran = "only the cells of its parameters, setup, exercises and checks run"
    show.say(console, f"Checking {target}: {many} exercise{'s' * (many != 1)}; {ran}.")
    _run(node, [cell for cell in cells if cell.source.strip()], target, path.parent)
    answers = list(_answers(cells))
    for line, _ in answers:
        show.say(console, line)
    return 0 if all(right for _, right in answers) else 1


def _run(node: NotebookNode, cells: list[NotebookNode], target: str, folder: Path) -> None:
    """Execute the cells; where one took its kernel with it, a new one goes on with those after it."""
    waiting = cells
    while waiting:
        again = [cell for cell in cells[: -len(waiting)] if tags(cell) & _SETUP]
        node.cells = [*again, *waiting]
        limits = {"seconds": lambda cell: SETUP_SECONDS if tags(cell) & _SETUP else SECONDS}
        done = execute(node, folder, environment(None, False), keep_going=True, **limits)
        failed = next((error for cell in cells if tags(cell) & _SETUP and (error := said(cell))), None)
        if failed:
            raise CourseError(f"The setup of {target} does not run, so nothing can be checked: {failed}")
        waiting = waiting[done.reached - len(again) :]


def _answers(cells: list[NotebookNode]) -> Iterator[tuple[str, bool]]:
    """What there is to say of each exercise, and whether it is right; what fails after a failure is left out."""
    error, checked = None, False
    for cell in (cell for cell in cells if not tags(cell) & _SETUP):
        before, checked = checked, "check" in tags(cell)
        if error and (checked or not before):
            continue
        begins = f"cell that begins `{cell.source.strip().partition(chr(10))[0]}`"
        answers = [answer for output in cell.outputs if checked and (answer := read_answer(output))]
        error = said(cell)
        yield from answers
        if error:
            yield f"Your {begins} fails: {error}", False
        elif checked and not answers:
            yield f"The {begins} gives no answer: take it afresh from the course's notebook.", False
        if "NameError" in f"{error} {answers}":
            yield "A check runs no other cells: let the exercise's cell define what it uses beyond the setup.", False

"""``smol check``: run a learner's exercise cells, with the setup they need and nothing else, and say the answers."""

from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.runner import show
from smol_course.runner.kernel import environment, execute, said
from smol_course.runner.sources import notebooks, read_ipynb, tags

CHECK = "application/vnd.smol.check+json"
_SETUP = {"parameters", "setup"}
# Setup may load a model, or fetch one. An exercise cell defines a function or a few values, and a check has a limit of
# 10 seconds of its own, which one call into C escapes.
SETUP_SECONDS, SECONDS = 900, 60


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
    return read_ipynb(path), path.parent


def check(target: str, console: Console) -> int:
    """Check a learner's notebook, print each answer, and return 0 if every exercise is solved, else 1.

    Raises CourseError if there is no such notebook, it has no check cells, or its setup cells fail.
    """
    node, folder = _opened(target)
    cells = [cell for cell in node.cells if cell.cell_type == "code" and tags(cell) & {*_SETUP, "exercise", "check"}]
    for cell in cells:
        cell.outputs = []
    exercises = _exercises(cells)
    if not exercises:
        raise CourseError(f"{target} has no check cells: they were deleted, or it is not a notebook of this course.")
    ran = "only the cells of its parameters, setup, exercises and checks run"
    show.say(console, f"Checking {target}: {len(exercises)} exercise{'s' * (len(exercises) > 1)}; {ran}.")
    try:
        _run(node, [cell for cell in cells if cell.source.strip()], target, folder)
    except KeyboardInterrupt:
        return 130
    solved = True
    for line, right in (answer for exercise in exercises for answer in _answers(exercise)):
        show.say(console, line)
        solved = solved and right
    return 0 if solved else 1


def _exercises(cells: list[NotebookNode]) -> list[list[NotebookNode]]:
    """The cells of each exercise: those of its answer, then those of its checks."""
    exercises: list[list[NotebookNode]] = [[]]
    for cell in (cell for cell in cells if not tags(cell) & _SETUP):
        if "check" not in tags(cell) and exercises[-1] and "check" in tags(exercises[-1][-1]):
            exercises.append([])
        exercises[-1].append(cell)
    return [exercise for exercise in exercises if any("check" in tags(cell) for cell in exercise)]


def _run(node: NotebookNode, cells: list[NotebookNode], target: str, folder: Path) -> None:
    """Execute the cells; where one took its kernel with it, a new one goes on with those after it."""
    waiting = cells
    while waiting:
        again = [cell for cell in cells[: -len(waiting)] if tags(cell) & _SETUP]
        node.cells = [*again, *waiting]
        done = execute(node, folder, environment(None, False), keep_going=True, seconds=_seconds)
        failed = next((error for cell in node.cells if tags(cell) & _SETUP and (error := said(cell))), None)
        if failed:
            raise CourseError(f"The setup of {target} does not run, so nothing can be checked: {failed}")
        waiting = waiting[done.reached - len(again) :]


def _seconds(cell: NotebookNode) -> float:
    return SETUP_SECONDS if tags(cell) & _SETUP else SECONDS


def _answers(exercise: list[NotebookNode]) -> Iterator[tuple[str, bool]]:
    """What there is to say of an exercise, and whether that is right; what fails after a failure is left out."""
    for cell in exercise:
        begins = f"cell that begins `{cell.source.strip().partition(chr(10))[0]}`"
        answers = [answer for output in cell.outputs if (answer := _answer(output))] if "check" in tags(cell) else []
        error = said(cell)
        yield from answers
        if error:
            yield f"Your {begins} fails: {error}", False
        elif "check" in tags(cell) and not answers:
            yield f"The {begins} gives no answer: take it afresh from the course's notebook.", False
        if "NameError" in f"{error} {answers}":
            yield "A check runs no other cells: let the exercise's cell define what it uses beyond the setup.", False
        if error:
            return


def _answer(output: NotebookNode) -> tuple[str, bool] | None:
    """The text of an output that is the answer of a check, and whether it is right; None for any other output."""
    data = output.get("data", {})
    told, text = data.get(CHECK), data.get("text/plain")
    if isinstance(told, dict) and isinstance(told.get("exercise"), str) and isinstance(text, str):
        return f"{told['exercise']}: {text}", told.get("verdict") == "right"
    return None

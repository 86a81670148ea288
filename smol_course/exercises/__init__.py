"""Checking a learner's answers, hints, and the progress that is kept on this machine.

A topic's exercises stand in ``smol_course/exercises/<topic>.py`` as ``EXERCISES``, a tuple of `Exercise`. A
judge looks at the answer with plain code, so this module knows nothing about notebooks, models or data.

What it cannot do: stop learner's code inside one long call into C (``10 ** 10 ** 10``), or code that eats
all memory.
"""

import contextvars
import copy
import ctypes
import importlib
import io
import json
import os
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.files import write_json
from smol_course.settings import data_folder

LEVELS = {"turtle": "🐢", "dog": "🐕", "lion": "🦁"}
SECONDS = 10
_CHECK = "application/vnd.smol.check+json"
_LONGEST = 600


class NotYet(Exception):
    """The answer is still the stub, or a part of it is missing; the message says what to do next."""


class Mistake(Exception):
    """The answer is wrong as the message says; a judge may raise it instead of returning the message."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    ``id`` is topic/turtle, topic/dog or topic/lion. ``title`` and ``minutes`` (of a lion, at least) are also on its
    card in the notebook, ``goal`` is one sentence. ``judge`` gets the answer and returns None if it is right, else
    one or two sentences that name the mistake; it may raise `NotYet` or `Mistake`. Each of ``wrong`` is (label,
    function that makes a wrong answer, piece of the message that it must get). With fewer than three of them,
    ``few_wrong`` says why no more are plausible.
    """

    id: str
    level: str
    title: str
    goal: str
    minutes: int
    judge: Callable[[Any], str | None]
    hints: tuple[str, ...]
    wrong: tuple[tuple[str, Callable[[], Any], str], ...]
    few_wrong: str = ""

    def __post_init__(self) -> None:
        match = re.fullmatch(r"\w+/(turtle|dog|lion)", self.id)
        if not match or LEVELS[match[1]] != self.level:
            raise ValueError(f"exercise {self.id!r} with level {self.level!r}: write topic/turtle with 🐢, and so on")

    @property
    def topic(self) -> str:
        """The stem that the exercise's notebook, lesson and solutions share."""
        return self.id.split("/")[0]


# --- For judges ---------------------------------------------------------------------------------------------


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return the value if it really is of this kind (True and False are no numbers; numpy's numbers are).

    Raises NotYet if there is no value yet (None or ...), and Mistake, naming ``what`` and both kinds, if it
    is of another kind.
    """
    _given(value, what)
    numpy = sys.modules.get("numpy")  # who has a number of numpy's has imported it
    if numpy and type(value).__module__ == "numpy" and issubclass(type(value), numpy.generic):
        value = value.item()
    kinds = kind if isinstance(kind, tuple) else (kind,)
    # type() and not isinstance: an object may lie about its class, and no judge should meet one that does.
    if not issubclass(type(value), kinds) or (type(value) is bool and bool not in kinds):
        names = " or ".join(_KINDS.get(one, one.__name__) for one in kinds)
        raise Mistake(f"{what} should be {names}, but it is {_kind(value)}.")
    return value


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a learner's function and return what it returned.

    Raises NotYet if there is no function, or it returns None, ... or NotImplemented as a stub does, and
    Mistake naming the exception that it raised.
    """
    _given(function, "the function")
    if not callable(function):
        raise Mistake(f"Give the function itself, not {_kind(function)}.")
    name = _text(getattr(function, "__name__", "your function"), 60)
    try:
        value = function(*arguments, **named)
    except (NotYet, Mistake, _TooLong):
        raise
    except NotImplementedError as error:
        raise NotYet(f"{name} is not implemented yet.") from error
    except RecursionError as error:
        raise Mistake(f"{name} calls itself without an end (RecursionError).") from error
    except BaseException as error:  # even a learner's exit() must not end the notebook
        raise Mistake(f"{name} raised {_raised(error)}.") from error
    _given(value, f"what {name} returns (has it a `return`?)")
    return value


def complete(answer: Any, parts: dict[str, type]) -> dict[str, Any]:
    """Return a 🦁's results if they have all these parts, each of its kind and filled in.

    Raises NotYet while parts are empty (a list without numbers, a zero), and Mistake for a part that is missing or of
    another kind.
    """
    results = expect(answer, dict, "results")
    missing = [name for name in parts if name not in results]
    if missing:
        raise Mistake(f"results has no {missing[0]!r}: keep all names of the cell above.")
    for name, kind in parts.items():
        expect(results[name], kind, name)
    empty = [name for name in parts if results[name] in ([], 0)]
    if empty:
        raise NotYet(f"still empty: {', '.join(empty)}.")
    return results


def shares(results: dict[str, Any], name: str, seeds: int) -> list[float]:
    """Return the list of accuracies (or other shares, 0 to 1) under a name, one for each of at least ``seeds`` runs.

    Raises Mistake for percents, for what lies outside 0 to 1, and for too few.
    """
    for value in results[name]:
        expect(value, (float, int), f"each number of {name}")
        if 1 < value <= 100:
            raise Mistake(f"{name} holds {value:.4g}: that looks like percent. Write 41 % as 0.41.")
        if not 0 <= value <= 1:
            raise Mistake(f"{name} holds {value:.4g}, which is no share: they lie from 0 to 1.")
    enough(results[name], name, seeds)
    return results[name]


def enough(values: list[Any], name: str, seeds: int) -> None:
    """Raise Mistake unless there is a value for each of so many seeds."""
    if len(values) < seeds:
        raise Mistake(f"{name} has {len(values)} of at least {seeds} seeds: one lucky run proves nothing.")


def untested(train_ids: list[Any]) -> None:
    """Raise Mistake if one of the ids of training messages is that of a message of a test split."""
    for name in train_ids:
        if expect(name, str, "each of train_ids").lower().startswith(("test-", "hard-")):
            raise Mistake(f"You trained on a message of a test split ({name[:20]}): it can test nothing now.")


def variants(made_up: dict[str, Any]) -> Callable[..., Callable[[], dict[str, Any]]]:
    """Return a function of named changes whose result makes these results with them: a 🦁's planted wrong answers.

    ``made_up`` are results of the right form, filled with numbers that pass.
    """
    return lambda **changed: lambda: made_up | changed


def compared(
    values: list[Any],
    wanted: list[Any],
    cases: Iterable[tuple[Any, ...]],
    ways: dict[str, Callable[..., Any]],
    say: Callable[[int], str],
) -> str | None:
    """Return what is wrong with what a learner's function gave, case by case, or None if it is what was wanted.

    Where one of ``ways``, mistakes by their messages, gives the same values for the cases: that message. Else what
    ``say`` says of the first case that differs, by its place.
    """
    if values == wanted:
        return None
    inputs = list(cases)
    for message, way in ways.items():
        with suppress(Exception):  # a mistaken way may fail where the learner's did not
            if [way(*copy.deepcopy(case)) for case in inputs] == values:
                return message
    return say(next(i for i, (value, right) in enumerate(zip(values, wanted, strict=True)) if value != right))


def planted(ways: dict[str, Callable[..., Any]]) -> tuple[tuple[str, Callable[[], Any], str], ...]:
    """Return mistakes by their messages, as `compared` takes them, in the form of an exercise's wrong answers."""
    return tuple((message, lambda way=way: way, message) for message, way in ways.items())


def _given(value: Any, what: str) -> None:
    if value is None or value is Ellipsis or value is NotImplemented:
        raise NotYet(f"{what} is still missing.")


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a dictionary",
    tuple: "a tuple",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value)) or f"of type {type(value).__name__}"


def _text(value: object, longest: int) -> str:
    """The value as one short line, whatever its __str__ does."""
    try:
        text = " ".join(str(value)[: 4 * longest].split())
    except BaseException:  # a hostile __str__ may raise anything
        return "something that cannot be printed"
    return text if len(text) <= longest else text[:longest] + " …"


def _raised(error: BaseException) -> str:
    text = _text(error, 160).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- Checking -----------------------------------------------------------------------------------------------


def check(name: str, answer: Any) -> None:
    """Check the answer to an exercise and say what was found: ✅, not yet, or which mistake was made.

    Takes at most 10 seconds; whatever the answer does, this does not raise. A right answer is kept in the
    progress. Raises CourseError only if there is no exercise of that name.
    """
    exercise = _exercise(name)
    heard = _Heard()
    verdict, message = _judged(exercise, answer, heard)
    if heard.text:
        print(f"Your code printed: {_text(heard.text, _LONGEST)}")
    if verdict == "right":
        message = _solve(exercise)
    elif exercise.hints:
        message += f' hint("{exercise.id}") helps.'
    signs = {"right": "✅ ", "not yet": "Not yet: ", "wrong": ""}
    result = {"exercise": exercise.id, "verdict": verdict, "message": message}
    _display({_CHECK: result, "text/plain": signs[verdict] + message})


class _TooLong(BaseException):
    """Raised inside the thread that judges when its time is over; no Exception, so few catch it."""


class _Heard(io.TextIOBase):
    """Keeps the beginning of what the learner's code prints."""

    text = ""

    def write(self, text: str) -> int:
        self.text += text[: max(0, _LONGEST + 1 - len(self.text))]
        return len(text)


def _judged(exercise: Exercise, answer: Any, heard: io.TextIOBase) -> tuple[str, str]:
    """Return the verdict and its sentence. The judge has a thread, so that an endless loop can be left."""
    found: list[tuple[str, str]] = []
    context = contextvars.copy_context()

    def work() -> None:
        with suppress(_TooLong):
            found.append(context.run(_verdict, exercise, answer))

    worker = threading.Thread(target=work, name="smol check", daemon=True)
    with redirect_stdout(heard), redirect_stderr(heard):
        worker.start()
        try:
            worker.join(SECONDS)
        finally:  # also when the learner interrupts the cell
            _stop(worker)
    if found:
        return found[0]
    restart = " It is still running: restart the kernel." if worker.is_alive() else ""
    return "wrong", f"Stopped after {SECONDS} seconds: is there a loop that never ends?{restart}"


def _stop(worker: threading.Thread) -> None:
    """Ask the thread to end if it has not; CPython does so at its next line of Python."""
    if not worker.is_alive():
        return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident or 0), ctypes.py_object(_TooLong))
    worker.join(1)


def _verdict(exercise: Exercise, answer: Any) -> tuple[str, str]:
    try:
        _given(answer, "your answer")
        mistake = exercise.judge(answer)
        if mistake is None:
            return "right", ""
        return "wrong", _text(mistake, _LONGEST)
    except NotYet as error:
        return "not yet", _text(error, _LONGEST) or "fill in the cell above."
    except Mistake as error:
        return "wrong", _text(error, _LONGEST)
    except _TooLong:
        raise  # the thread that waits says it
    except BaseException as error:  # an odd answer may raise anything at any touch
        return "wrong", f"Your answer cannot be used as it is: looking at it raised {_raised(error)}."


def _display(bundle: dict[str, Any]) -> None:
    """Show the result in the notebook; print it where there is none."""
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython():
        display(bundle, raw=True)
    else:
        print(bundle["text/plain"])


def _solve(exercise: Exercise) -> str:
    """Keep that the exercise is solved; return the sentence that says so."""
    try:
        with _progress() as progress:
            progress["solved"].setdefault(exercise.id, datetime.now(UTC).isoformat(timespec="seconds"))
            done = sum(other.id in progress["solved"] for other in all_exercises())
    except OSError as error:
        return f"Right, but your progress could not be kept ({error.strerror or error}): mend that, check again."
    return f"Right: that makes {done} of {len(all_exercises())} exercises solved."


# --- Hints and progress -------------------------------------------------------------------------------------


def hint(name: str) -> None:
    """Print the exercise's hints opened so far and one more; each call opens the next.

    Raises CourseError if there is no exercise of that name.
    """
    exercise = _exercise(name)
    total = len(exercise.hints)
    try:
        with _progress() as progress:
            opened = progress["hints"].get(exercise.id)
            opened = opened if type(opened) is int and opened > 0 else 0
            progress["hints"][exercise.id] = min(opened + 1, total)
    except OSError:
        opened = total  # without a memory, better all hints than always the first
    for number, text in enumerate(exercise.hints[: opened + 1], 1):
        print(f"Hint {number} of {total}: {text}")
    if opened >= total:
        print("There are no more hints." if total else "There are no hints for this exercise.")


def solved() -> set[str]:
    """Return the ids of the exercises that the learner has solved.

    Raises CourseError if they cannot be read.
    """
    try:
        return set(_read(data_folder() / "progress.json")["solved"])
    except OSError as error:
        raise CourseError(f"Your progress cannot be read ({error.strerror or error}): mend its file.") from error


@contextmanager
def _progress() -> Iterator[dict[str, Any]]:
    """Yield the progress to change, and write it in one step; one process at a time. Raises OSError."""
    from filelock import FileLock

    path = data_folder() / "progress.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        progress = _read(path)
        yield progress
        write_json(path, progress)


def _read(path: Path) -> dict[str, Any]:
    """The progress; what else its file holds is kept. A damaged file is moved aside, not overwritten."""
    fresh: dict[str, Any] = {"solved": {}, "hints": {}}
    try:
        progress = fresh | json.loads(path.read_text(encoding="utf-8"))
        if isinstance(progress["solved"], dict) and isinstance(progress["hints"], dict):
            return progress
    except FileNotFoundError:
        return fresh
    except (ValueError, TypeError, RecursionError):
        pass
    aside = path.with_name(f"progress.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json")
    os.replace(path, aside)
    print(f"The file with your progress was damaged, so it was moved to {aside.name} and a new one begun.")
    return fresh


# --- Which exercises there are ------------------------------------------------------------------------------


def all_exercises() -> list[Exercise]:
    """Return the exercises of all topics, by topic, 🐢 before 🐕 before 🦁."""
    found: list[Exercise] = []
    for topic in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        exercises = importlib.import_module(f"{__name__}.{topic}").EXERCISES
        found += sorted(exercises, key=lambda exercise: list(LEVELS.values()).index(exercise.level))
    return found


def _exercise(name: str) -> Exercise:
    known = {exercise.id: exercise for exercise in all_exercises()}
    if not isinstance(name, str) or name not in known:
        raise CourseError(f"There is no exercise {_text(name, 60)}; there are: {', '.join(known) or 'none yet'}.")
    return known[name]

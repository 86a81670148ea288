"""Checking a learner's answers, hints, and the progress that is kept on this machine.

A topic's exercises stand in ``smol_course/exercises/<topic>.py`` as ``EXERCISES``, a tuple of `Exercise`. A
judge looks at the answer with plain code, so this module knows nothing about notebooks, models or data.

For judges: `call`, `returned` and `raised` run a learner's function and say where it failed and for which input;
`expect` and `number` take every number type; `at_most` and `at_least` hold limits exactly.

What it cannot do: stop learner's code inside one long call into C (``10 ** 10 ** 10``), or code that eats
all memory.
"""

import contextvars
import copy
import ctypes
import importlib
import io
import json
import linecache
import math
import os
import pkgutil
import re
import reprlib
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.files import write_json
from smol_course.settings import data_folder

LEVELS = {"turtle": "🐢", "dog": "🐕", "lion": "🦁"}
SECONDS = 10
CHECK = "application/vnd.smol.check+json"
_LONGEST = 600


class NotYet(Exception):
    """The answer is still the stub, or a part of it is missing; the message says what to do next."""


class Mistake(Exception):
    """The answer is wrong as the message says; a judge may raise it instead of returning the message."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    ``id`` is topic/turtle, topic/dog or topic/lion. ``title`` and ``minutes`` (of a lion, at least) are those of its
    card in the notebook, ``goal`` is one sentence. ``judge`` gets the answer and returns None if it is right, else one
    or two sentences that name the mistake; it may raise `NotYet` or `Mistake`. Each of ``wrong`` is (label, function
    that makes a wrong answer, piece of the message that it must get). With fewer than three of them, ``few_wrong`` says
    why no more are plausible. ``needs`` are the modules that the judge imports: `check` imports them before its clock
    starts, as an import that is cut short leaves its library half loaded.
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
    needs: tuple[str, ...] = ()

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
    """Return the value, as `plain` makes it, if it really is of this kind (True and False are no numbers).

    A whole number will do where a number is asked, and an array or tensor where a list is. Raises NotYet if there is
    no value yet (None or ...), and Mistake, naming ``what`` and both kinds, if it is of another kind.
    """
    _given(value, what)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    value = plain(value, arrays=list in kinds)
    if float in kinds:
        kinds = (*kinds, int)
    # type() and not isinstance: an object may lie about its class, and no judge should meet one that does.
    if not issubclass(type(value), kinds) or (type(value) is bool and bool not in kinds):
        asked = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(
            _NAMES.get(asked_kind.__name__, asked_kind.__name__)
            for asked_kind in asked
            if not (asked_kind is int and float in asked)
        )
        raise Mistake(f"{what} should be {names}, but it is {_kind(value)}.")
    if type(value) is int and value.bit_length() > 1000:  # no float, and no text, can hold it
        raise Mistake(f"{what} is far too large: a number of more than 300 digits.")
    return value


def number(value: Any, what: str) -> float:
    """Return a finite number, of whatever library's type, as a float. Raises NotYet and Mistake as `expect` does."""
    value = float(expect(value, float, what))
    if not math.isfinite(value):
        raise Mistake(f"{what} is {value}, which is no finite number.")
    return value


def plain(value: Any, arrays: bool = False, depth: int = 4) -> Any:
    """Return the value with numpy's and torch's numbers as Python's own, also inside lists, tuples and dictionaries.

    A Fraction or Decimal becomes an int if it is a whole number, else a float. Whole arrays and tensors, unless they
    hold one number without a dimension, stay as they are, or become lists with ``arrays``. What needs no change comes
    back as the same object.
    """
    kind = type(value)
    if kind in _PLAIN or depth == 0:
        return value
    if issubclass(kind, (list, tuple)):
        parts = [plain(part, arrays, depth - 1) for part in value]
        if all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        return tuple(parts) if issubclass(kind, tuple) else parts
    if issubclass(kind, dict):
        parts = {key: plain(part, arrays, depth - 1) for key, part in value.items()}
        return value if all(parts[key] is value[key] for key in parts) else parts
    if kind in (Fraction, Decimal) and math.isfinite(value):
        return int(value) if value == int(value) else float(value)
    # Who has a number of one of these libraries has imported it.
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    tensor = getattr(torch, "Tensor", None)
    if tensor and issubclass(kind, tensor) and (arrays or not value.dim()):
        value = value.detach().cpu()
        if value.dtype is not torch.float32:  # type: ignore[union-attr]
            return value.tolist()
        value = value.numpy()
        kind = type(value)
    if numpy and issubclass(kind, numpy.ndarray) and (arrays or not value.ndim):
        return [plain(part, arrays, depth - 1) for part in value] if value.ndim else plain(value[()])
    if numpy and issubclass(kind, (numpy.float32, numpy.float16)):
        return float(str(value))  # 0.1 and not 0.10000000149: the number that was meant
    if numpy and issubclass(kind, numpy.generic):
        return value.item()
    return value


_PLAIN = {bool, int, float, str, bytes, type(None), type(...)}


def at_most(value: float, limit: float) -> bool:
    """Whether a value does not lie above a limit; one exactly on it, but for floats' rounding, does not."""
    return value <= limit + 1e-9 * max(1.0, abs(limit))


def at_least(value: float, limit: float) -> bool:
    """Whether a value does not lie below a limit; one exactly on it, but for floats' rounding, does not."""
    return value >= limit - 1e-9 * max(1.0, abs(limit))


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call a learner's function and return what it returned.

    Raises NotYet if there is no function, or it returns None, ... or NotImplemented as a stub does, and
    Mistake naming the exception that it raised, the learner's line that did it, and the arguments.
    """
    value, error, where = _called(function, arguments, named)
    if error is not None:
        raise Mistake(f"{_name(function)} raised {_raised(error)}{where}.") from error
    if _missing(value):
        raise NotYet(f"{_name(function)} returned {value}{where}: is a `return` missing there?")
    return value


def returned(function: Callable[..., Any], *arguments: Any) -> Any:
    """As `call`, for a function that may return None as its answer."""
    value, error, where = _called(function, arguments, {})
    if error is not None:
        raise Mistake(f"{_name(function)} raised {_raised(error)}{where}.") from error
    return value


def raised(function: Callable[..., Any], *arguments: Any, **named: Any) -> Mistake | None:
    """Call a learner's function that should raise; return None if it returned, else what `call` would say.

    The exception is its ``__cause__``: ask with `isinstance`, so that a subclass will do. Raises NotYet and Mistake if
    there is no function.
    """
    try:
        _, error, where = _called(function, arguments, named)
        if error is not None:
            raise Mistake(f"{_name(function)} raised {_raised(error)}{where}.") from error
    except Mistake as mistake:
        if mistake.__cause__ is None:
            raise
        return mistake
    return None


def shown(value: Any) -> str:
    """The value in a few words, for a message, whatever its __repr__ does."""
    try:
        return _text(_Short().repr(value), 120)
    except Exception:
        return f"something of type {type(value).__name__}"


def _called(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, BaseException | None, str]:
    """What a learner's function returned, what it raised, and in which line and for which arguments that was."""
    _given(function, "the function")
    name = _name(function)
    if not callable(function):
        raise Mistake(f"Give the function itself, without calling it, not {_kind(function, 'something ')}.")
    if issubclass(type(function), type) and not issubclass(function, tuple(_PLAIN | {list, dict, tuple, set})):
        raise Mistake(f"Give a function (`def`): {name} is a class.")
    arguments_text = _arguments(function, arguments, named)  # before the call, which may change them
    try:
        value = function(*arguments, **named)
    except (NotYet, Mistake, _TooLong):
        raise
    except NotImplementedError as error:
        raise NotYet(f"{name} is not implemented yet.") from error
    except BaseException as error:  # even a learner's exit() must not end the notebook
        unreached = type(error) is TypeError and error.__traceback__.tb_next is None  # type: ignore[union-attr]
        if unreached and type(function) is types.FunctionType:
            raise Mistake(
                f"{name} does not take the arguments that it was called with{arguments_text}: {_text(error, 160)}."
            ) from error
        return None, error, _place(error, function) + arguments_text
    if type(value) in (types.CoroutineType, types.AsyncGeneratorType):
        with suppress(AttributeError):
            value.close()  # else Python warns that nobody awaited it
        raise Mistake(f"{name} is an async function, so calling it computes nothing: write `def` without `async`.")
    if type(value) is types.GeneratorType:
        raise Mistake(f"{name} returned a generator, which has computed nothing yet: `return` a value, do not `yield`.")
    return value, None, arguments_text


def complete(answer: Any, parts: dict[str, type]) -> dict[str, Any]:
    """Return a 🦁's results if they have all these parts, each of its kind and filled in.

    Raises NotYet while parts are empty (a list without numbers, a zero), and Mistake for a part that is missing or of
    another kind.
    """
    results = expect(answer, dict, "results")
    missing = [name for name in parts if name not in results]
    if missing:
        raise Mistake(f"results has no {missing[0]!r}: keep all names of the cell above.")
    results = results | {name: expect(results[name], kind, name) for name, kind in parts.items()}
    empty = [name for name in parts if type(results[name]) is not bool and results[name] in ([], 0)]
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


class Nearly(float):
    """A learner's number as `compared` needs it: equal to each that differs by no more than a share of it, or of 1."""

    def __new__(cls, value: float, share: float = 1e-6) -> "Nearly":
        nearly = super().__new__(cls, value)
        nearly.share = share
        return nearly

    share: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float | int) and math.isclose(self, other, rel_tol=self.share, abs_tol=self.share)

    def __ne__(self, other: object) -> bool:  # float has its own, which is no negation of ours
        return not self == other

    __hash__ = float.__hash__


def planted(ways: dict[str, Callable[..., Any]]) -> tuple[tuple[str, Callable[[], Any], str], ...]:
    """Return mistakes by their messages, as `compared` takes them, in the form of an exercise's wrong answers."""
    return tuple((message, lambda way=way: way, message) for message, way in ways.items())


def _missing(value: Any) -> bool:
    return value is None or value is Ellipsis or value is NotImplemented


def _given(value: Any, what: str) -> None:
    if _missing(value):
        raise NotYet(f"{what} is still missing.")


# By the name of the type, as this module imports no library.
_NAMES = {
    "bool": "True or False",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "a dictionary",
    "tuple": "a tuple",
    "set": "a set",
    "Tensor": "a tensor",
    "ndarray": "an array",
    "function": "a function",
    "builtin_function_or_method": "a function",
    "method": "a function",
    "generator": "a generator",
    "type": "a class",
}


def _kind(value: Any, else_: str = "") -> str:
    if type(value) is bool:
        return str(value)
    if type(value) is float:  # a whole number is a number, too: what it is not must be seen
        text = f"{value:.6g}"
        text += ".0" if text.lstrip("-").isdecimal() else ""
        return f"{text}, a number with a decimal point" if math.isfinite(value) else f"the number {value}"
    name = type(value).__name__
    return _NAMES.get(name) or f"{else_}of type {name}"


def _name(function: Any) -> str:
    name = _text(getattr(function, "__name__", "your function"), 60)
    return "your lambda" if name == "<lambda>" else name


def _text(value: object, longest: int) -> str:
    """The value as one short line, whatever its __str__ does."""
    try:
        text = " ".join(str(value)[: 4 * longest].split())
    except BaseException:  # a hostile __str__ may raise anything
        return "something that cannot be printed"
    return text if len(text) <= longest else text[:longest] + " …"


def _raised(error: BaseException) -> str:
    if issubclass(type(error), RecursionError):
        return "RecursionError (a function that calls itself without an end)"
    text = _text(error, 160).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# Code that no learner wrote: Python's own, what is installed, and the course's.
_LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(name))) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).resolve().parents[1]) + os.sep, "<frozen"}
)


def _place(error: BaseException, function: Any) -> str:
    """Say in which line of the learner's own code an exception arose, with what stands there; "" if in none."""
    try:
        own = getattr(getattr(function, "__code__", None), "co_filename", None)
        last: types.TracebackType | None = None
        step = error.__traceback__ and error.__traceback__.tb_next  # the first frame is that of the call
        while step:
            file = step.tb_frame.f_code.co_filename
            if file == own or not (file.startswith(_LIBRARIES) or file.endswith(".pyx")):
                last = step
            step = step.tb_next
        if last is None:
            return ""
        source = _text(_expression(last), 60).replace("`", "'")
        return f" in line {last.tb_lineno}" + (f": `{source}`" if source else "")
    except Exception:  # a learner's class may make anything of its attributes
        return ""


def _expression(step: types.TracebackType) -> str:
    """The source of the expression that was being computed; its line where Python does not know more."""
    line = linecache.getline(step.tb_frame.f_code.co_filename, step.tb_lineno)
    first, last, begin, end = list(step.tb_frame.f_code.co_positions())[step.tb_lasti // 2]
    if first != last or begin is None or end is None:
        return line
    return line.encode()[begin:end].decode(errors="replace") or line


class _Short(reprlib.Repr):
    """Short forms of arguments, as they are written in Python; only a type's name for what has no such form."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = 100
        self.maxlevel, self.maxdict, self.maxlist = 3, 6, 8

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        """In its own order; the library's sorts the keys."""
        if level <= 0:
            return "{...}"
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(value[key], level - 1)}" for key in value]
        return "{" + ", ".join(pairs[: self.maxdict] + ["..."] * (len(pairs) > self.maxdict)) + "}"

    def repr_instance(self, value: Any, level: int) -> str:
        if _missing(value) or type(value) in (bool, float):
            return repr(value)
        shape = getattr(value, "shape", None)
        if issubclass(type(shape), tuple):
            return f"{type(value).__name__} of shape {tuple(shape)}"
        name = getattr(value, "__name__", None)  # a judge's function may be an object
        if type(name) is str:
            return name
        if type(value) is types.SimpleNamespace and level > 0:
            return f"({', '.join(f'{key}={self.repr1(part, level - 1)}' for key, part in vars(value).items())})"
        return f"something of type {type(value).__name__}"

    def repr_function(self, value: Any, level: int) -> str:
        return value.__name__

    repr_type = repr_method = repr_builtin_function_or_method = repr_function


def _arguments(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Say what a learner's function is called with, in a few words; "" if it is nothing, or cannot be said."""
    try:
        code = getattr(function, "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code else ()
        names = names[1:] if getattr(function, "__self__", None) is not None else names
        if len(names) < len(arguments):
            names = ("",) * len(arguments)
        short = _Short()
        pairs = [*zip(names, arguments, strict=False), *named.items()]
        written = [f"{name} = {short.repr(value)}" if name else short.repr(value) for name, value in pairs]
        return f", for {_text(', '.join(written), 240)}" if written else ""
    except Exception:  # what stands in for a function may make anything of its attributes
        return ""


# --- Checking -----------------------------------------------------------------------------------------------


def check(name: str, answer: Any) -> None:
    """Check the answer to an exercise and say what was found: ✅, not yet, or which mistake was made.

    Takes at most 10 seconds; whatever the answer does, this does not raise. A right answer is kept in the
    progress. Raises CourseError only if there is no exercise of that name, or a library that it needs is missing.
    """
    exercise = _exercise(name)
    for library in exercise.needs:  # before the clock starts
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise CourseError(f"To check {exercise.id}, {library} must be installed: {_text(error, 160)}.") from error
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
    _display({CHECK: result, "text/plain": signs[verdict] + message})


def read_answer(output: dict[str, Any]) -> tuple[str, bool] | None:
    """Return the text of a cell's output that `check` showed, and whether the answer is right; None for another."""
    data = output.get("data", {})
    told, text = data.get(CHECK), data.get("text/plain")
    if isinstance(told, dict) and isinstance(told.get("exercise"), str) and isinstance(text, str):
        return f"{told['exercise']}: {text}", told.get("verdict") == "right"
    return None


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
    verdicts: list[tuple[str, str]] = []
    context = contextvars.copy_context()

    def work() -> None:
        with suppress(_TooLong):
            verdicts.append(context.run(_verdict, exercise, answer))

    worker = threading.Thread(target=work, name="smol check", daemon=True)
    with redirect_stdout(heard), redirect_stderr(heard):
        worker.start()
        try:
            worker.join(SECONDS)
        finally:  # also when the learner interrupts the cell
            _stop(worker)
    if verdicts:
        return verdicts[0]
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
    except (OSError, CourseError) as error:
        reason = f"{getattr(error, 'strerror', None) or error}".rstrip(".")
        return f"Right, but your progress could not be kept ({reason}): mend that, check again."
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
    except (OSError, CourseError):
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
    """Yield the progress to change, and write it in one step, alone. Raises OSError, and CourseError for its place."""
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
    collected: list[Exercise] = []
    for topic in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        exercises = importlib.import_module(f"{__name__}.{topic}").EXERCISES
        collected += sorted(exercises, key=lambda exercise: list(LEVELS.values()).index(exercise.level))
    return collected


def _exercise(name: str) -> Exercise:
    known = {exercise.id: exercise for exercise in all_exercises()}
    if not isinstance(name, str) or name not in known:
        raise CourseError(f"There is no exercise {_text(name, 60)}; there are: {', '.join(known) or 'none yet'}.")
    return known[name]

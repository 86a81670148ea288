"""Every exercise of every topic: its solution passes, its stub is "not yet", each planted mistake is named.

And nothing that a learner may return crashes a check. A small made-up topic is proved first, by the same
functions.
"""

import ast
import builtins
import functools
import importlib
import itertools
import json
import math
import re
import runpy
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import jupytext
import pytest
from IPython.core.interactiveshell import InteractiveShell

from smol_course import exercises
from smol_course.errors import CourseError
from smol_course.exercises import (
    Exercise,
    Mistake,
    NotYet,
    at_least,
    at_most,
    call,
    check,
    complete,
    expect,
    hint,
    number,
    raised,
    returned,
)
from smol_course.settings import repository

MIME = "application/vnd.smol.check+json"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What checks display, with the progress kept in an empty folder."""
    bundles: list[dict[str, Any]] = []
    monkeypatch.setenv("SMOL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(exercises, "_display", bundles.append)
    monkeypatch.setattr(builtins, "__import__", _noted(builtins.__import__))
    return bundles


IMPORTED: set[str] = set()


def _noted(real: Callable[..., Any]) -> Callable[..., Any]:
    """An import that notes what a topic's own code asks for while the clock of a check runs."""

    def noted(name: str, globals: Any = None, *rest: Any, **named: Any) -> Any:
        inside = threading.current_thread().name == "smol check"
        if inside and globals and str(globals.get("__name__")).startswith("smol_course.exercises."):
            IMPORTED.add(name)
        return real(name, globals, *rest, **named)

    return noted


# --- The proofs ---------------------------------------------------------------------------------------------


def verdict(shown: list[dict[str, Any]], name: str, answer: Any) -> tuple[str, str]:
    """Check an answer; return the verdict and its message, after proving that the display is well formed."""
    shown.clear()
    IMPORTED.clear()
    for module in next((exercise.needs for exercise in exercises.all_exercises() if exercise.id == name), ()):
        importlib.import_module(module)
    begun = time.perf_counter()
    check(name, answer)
    assert time.perf_counter() - begun < exercises.SECONDS, f"{name} takes too long"
    late = {module for module in IMPORTED if module.split(".")[0] not in sys.stdlib_module_names}
    if late:
        needs = next(exercise.needs for exercise in exercises.all_exercises() if exercise.id == name)
        assert late <= brought(needs), f"{name} should name in `needs` what its judge imports: {late}"
    (bundle,) = shown
    result, text = bundle[MIME], bundle["text/plain"]
    assert set(result) == {"exercise", "verdict", "message"} and result["exercise"] == name
    signs = {"right": "✅ ", "not yet": "Not yet: ", "wrong": ""}
    assert text == signs[result["verdict"]] + result["message"]
    assert 0 < len(result["message"]) < 800 and "\n" not in text
    json.dumps(bundle)
    return result["verdict"], result["message"]


@functools.cache
def brought(needs: tuple[str, ...]) -> set[str]:
    """The modules that there are in a fresh process once these are imported."""
    code = f"import sys, {', '.join(needs) or 'sys'}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


class Stand(dict):  # type: ignore[type-arg]
    """Names for a stub cell: what the setup would have loaded is stood for by a MagicMock."""

    def __missing__(self, name: str) -> Any:
        builtins = vars(__import__("builtins"))
        return builtins[name] if name in builtins else self.setdefault(name, MagicMock(name=name))


def _cheap(statement: ast.stmt) -> bool:
    """Whether a setup statement may run here: definitions, constants, imports that load no model library."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return True
    if isinstance(statement, ast.Assign):
        return not any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(statement.value))
    if isinstance(statement, ast.Import):
        return all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in statement.names)
    return isinstance(statement, ast.ImportFrom) and (
        (statement.module or "").split(".")[0] in {*sys.stdlib_module_names, "smol_course"}
    )


def notebook_of(topic: str, root: Path) -> Path:
    """The text source of a topic's notebook."""
    sources = list(root.glob(f"[0-9]*_*/notebooks/{topic}.py"))
    assert len(sources) == 1, f"the exercises of {topic} need one notebook of that name, there are {len(sources)}"
    return sources[0]


@functools.cache
def stub_answers(topic: str, root: Path) -> dict[str, Any]:
    """What the notebook as it stands gives to `check`, by exercise; what its setup loads is stood for."""
    answers: dict[str, Any] = {}
    space = Stand()
    for cell in jupytext.read(notebook_of(topic, root), fmt="py:percent").cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type != "code" or not tags & {"parameters", "setup", "exercise", "check"}:
            continue
        tree = ast.parse(cell.source)
        if "setup" in tags:
            tree.body = [statement for statement in tree.body if _cheap(statement)]
        exec(compile(tree, f"{topic}, {sorted(tags)[0]} cell", "exec"), space)
        space["check"] = answers.__setitem__
        space["hint"] = lambda name: None
    return answers


@functools.cache
def solutions(topic: str, root: Path) -> dict[str, Callable[[], Any]]:
    """The reference answers of a topic, each as a function that makes it."""
    file = notebook_of(topic, root).parents[1] / "solutions" / f"{topic}.py"
    assert file.is_file(), f"the exercises of {topic} need their solutions in {file.name}"
    return runpy.run_path(str(file))["ANSWERS"]


def prove_stub(exercise: Exercise, root: Path, shown: list[dict[str, Any]]) -> None:
    """The notebook checks the exercise, and its stub is not yet an answer."""
    stubs = stub_answers(exercise.topic, root)
    assert exercise.id in stubs, f"no check cell of the notebook checks {exercise.id}"
    assert verdict(shown, exercise.id, stubs[exercise.id])[0] == "not yet", shown
    assert exercises.solved() == set()


def prove_solution(exercise: Exercise, root: Path, shown: list[dict[str, Any]]) -> None:
    """The reference solution is right, and only then the progress knows it."""
    answers = solutions(exercise.topic, root)
    assert exercise.id in answers, f"the solutions have no answer to {exercise.id}"
    assert verdict(shown, exercise.id, answers[exercise.id]())[0] == "right", shown
    assert exercises.solved() == {exercise.id}


def prove_wrong(exercise: Exercise, label: str, shown: list[dict[str, Any]]) -> None:
    """A planted mistake is wrong, and its message names it."""
    make, piece = next(rest for name, *rest in exercise.wrong if name == label)
    outcome, message = verdict(shown, exercise.id, make())
    assert outcome == "wrong" and piece in message, f"{label}: {message}"


def prove_card(exercise: Exercise) -> None:
    """The card is whole: three planted mistakes or a reason, each told apart from the others, and hints."""
    assert exercise.title.strip() and exercise.goal.strip() and 0 < exercise.minutes <= 240
    assert exercise.hints and all(exercise.hints)
    assert len(exercise.wrong) >= 3 or exercise.few_wrong, "plant three wrong answers, or say why not"
    pieces = [piece for _, _, piece in exercise.wrong]
    assert all(pieces) and len({label for label, *_ in exercise.wrong}) == len(exercise.wrong)
    assert len(set(pieces)) == len(pieces), "two mistakes that get the same message are one"


# How a card says what an exercise takes; a lion's time has no end.
TIMES = {5: "5 minutes", 20: "20 minutes", 60: "an hour or more", 120: "two hours or more"}


def cards(topic: str, root: Path) -> list[str]:
    """The headings of the exercises' cards in a topic's notebook."""
    levels = "|".join(exercises.LEVELS.values())
    text = notebook_of(topic, root).read_text(encoding="utf-8")
    return re.findall(rf"^# ### ((?:{levels}) .*)$", text, re.MULTILINE)


class Hostile:
    """Raises, or says yes, at every touch."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __format__ = __hash__ = __len__ = __iter__ = __getitem__ = __bool__ = __repr__  # type: ignore

    def __eq__(self, other: object) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


def _raises(*_: Any, **__: Any) -> Any:
    raise RuntimeError("from the learner's code")


def _leaves(*_: Any, **__: Any) -> Any:
    sys.exit("bye")


def _recurses(*arguments: Any, **named: Any) -> Any:
    return _recurses(*arguments, **named)


def _shouts(*_: Any, **__: Any) -> str:
    print("x" * 10_000_000)
    return "y" * 10_000_000


@functools.cache  # to make it takes a fifth of a second
def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def _itself() -> dict[str, Any]:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    return ring


def _tensor() -> Any:
    import torch

    return torch.zeros(3, 4)


def _array() -> Any:
    import numpy

    return numpy.ones((2, 2))


GARBAGE: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "ellipsis": lambda: ...,
    "not implemented": lambda: NotImplemented,
    "true": lambda: True,
    "minus one": lambda: -1,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "huge number": lambda: 10**5000,
    "complex": lambda: 1j,
    "empty text": lambda: "",
    "text": lambda: "surprise \x00 \ud800 🐢",
    "huge text": lambda: "a" * 10_000_000,
    "bytes": lambda: b"\xff",
    "empty list": list,
    "huge list": lambda: list(range(1_000_000)),
    "list of nones": lambda: [None] * 10,
    "deep list": _deep,
    "empty dict": dict,
    "dict of odd keys": lambda: {None: 1, (1, 2): [], "role": object()},
    "dict in itself": _itself,
    "set": lambda: {1, "a"},
    "object": object,
    "class": lambda: Exercise,
    "module": lambda: json,
    "exception": lambda: ValueError("an exception as an answer"),
    "hostile": Hostile,
    "list of hostile": lambda: [Hostile()],
    "mock": MagicMock,
    "returns mock": lambda: lambda *_, **__: MagicMock(),
    "returns hostile": lambda: lambda *_, **__: Hostile(),
    "lambda of nothing": lambda: lambda: 1,
    "lambda of nine": lambda: lambda a, b, c, d, e, f, g, h, i: a,
    "identity": lambda: lambda *arguments, **_: arguments[0] if arguments else None,
    "returns none": lambda: lambda *_, **__: None,
    "returns nan": lambda: lambda *_, **__: float("nan"),
    "raises": lambda: _raises,
    "leaves": lambda: _leaves,
    "recurses": lambda: _recurses,
    "shouts": lambda: _shouts,
    "generator": lambda: (number for number in itertools.count()),
    "generator function": lambda: lambda *_, **__: (yield),
    "array": _array,
    "tensor": _tensor,
    "returns tensor": lambda: lambda *_, **__: _tensor(),
}


def prove_garbage(exercise: Exercise, label: str, shown: list[dict[str, Any]]) -> None:
    """Whatever it is, the check says something sensible, and it is not right."""
    outcome, message = verdict(shown, exercise.id, GARBAGE[label]())
    assert outcome in {"wrong", "not yet"}, f"{label} is taken for right: {message}"
    assert exercises.solved() == set()


# --- A made-up topic ----------------------------------------------------------------------------------------

JUDGES = """
from smol_course.exercises import Exercise, call, expect

def doubled(answer):
    for number in (3, 5):
        found = expect(call(answer, number), int, "the double")
        if found == number:
            return f"You gave {number} back unchanged."
        if found == number * number:
            return "You squared it."
        if found != 2 * number:
            return f"The double of {number} is not {found}."

def named(answer):
    answer = expect(answer, str, "the name")
    return None if answer == "smol" else "It is written smol."

EXERCISES = (
    Exercise("fake/dog", "🐕", "A name", "name it", 20, named, ("It is small.",),
             (("loud", lambda: "SMOL", "written smol"),), few_wrong="there is one name"),
    Exercise("fake/turtle", "🐢", "Twice", "double it", 5, doubled, ("Twice.", "Use +.", "x + x"), (
        ("same", lambda: lambda x: x, "unchanged"),
        ("square", lambda: lambda x: x * x, "squared"),
        ("text", lambda: lambda x: str(x), "should be a whole number, but it is a text"),
        ("broken", lambda: lambda x: x / 0, "raised ZeroDivisionError"))),
)
"""
NOTEBOOK = """
# %% tags=["parameters"]
START = 3

# %% tags=["setup"]
import json
from transformers_that_is_not_installed import Model
from smol_course.exercises import check, hint
model = Model.from_pretrained("somewhere")
DAYS = ["monday", "friday"]

# %%
raise RuntimeError("a cell that exercises do not need")

# %% tags=["exercise"]
text = tokenizer.apply_chat_template(json.loads("[]"))

def double(x):
    # your code
    assert START and DAYS[1] == "friday" and model.config and len("a")
    return None

# %% tags=["check"]
check("fake/turtle", double)
# hint("fake/turtle")

# %% tags=["exercise"]
name = ...

# %% tags=["check"]
check("fake/dog", name)
"""
SOLUTIONS = 'ANSWERS = {"fake/turtle": lambda: lambda x: 2 * x, "fake/dog": lambda: "smol"}\n'


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A course of one topic, found as real topics are."""
    for name, text in {
        "package/fake.py": JUDGES,
        "1_module/notebooks/fake.py": NOTEBOOK,
        "1_module/solutions/fake.py": SOLUTIONS,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(exercises, "__path__", [str(tmp_path / "package")])
    sys.modules.pop("smol_course.exercises.fake", None)
    by_id = {exercise.id: exercise for exercise in exercises.all_exercises()}
    return SimpleNamespace(root=tmp_path, turtle=by_id["fake/turtle"], dog=by_id["fake/dog"])


def test_a_sound_topic_is_proved(fake: SimpleNamespace, shown: list[dict[str, Any]], monkeypatch: Any) -> None:
    for exercise in (fake.turtle, fake.dog):
        prove_card(exercise)
        prove_stub(exercise, fake.root, shown)
        for label, *_ in exercise.wrong:
            prove_wrong(exercise, label, shown)
    prove_solution(fake.turtle, fake.root, shown)
    assert shown[0][MIME]["message"] == "Right: that makes 1 of 2 exercises solved."


@pytest.mark.parametrize("label", GARBAGE)
def test_garbage_never_crashes(fake: SimpleNamespace, shown: list[dict[str, Any]], label: str) -> None:
    prove_garbage(fake.turtle, label, shown)
    prove_garbage(fake.dog, label, shown)


def test_the_proofs_can_fail(fake: SimpleNamespace, shown: list[dict[str, Any]]) -> None:
    lax = Exercise("fake/turtle", "🐢", "t", "g", 5, lambda answer: None, ("h",), (("a", list, "b"),))
    sys.modules["smol_course.exercises.fake"].EXERCISES = (lax,)  # type: ignore[attr-defined]
    for prove in (
        lambda: prove_card(lax),
        lambda: prove_stub(lax, fake.root, shown),
        lambda: prove_wrong(lax, "a", shown),
        lambda: prove_garbage(lax, "hostile", shown),
    ):
        with pytest.raises(AssertionError):
            prove()


# --- The real topics ----------------------------------------------------------------------------------------

REAL = {exercise.id: exercise for exercise in exercises.all_exercises()}
PLANTED = [(name, label) for name, exercise in REAL.items() for label, *_ in exercise.wrong]


@pytest.fixture(scope="module")
def libraries() -> None:
    """A learner's kernel has long imported these when a check begins; so has this one.

    transformers alone does not load torch, which would then be loaded, and cut short, while a clock runs.
    """
    import torch  # noqa: F401
    import transformers  # noqa: F401


@pytest.mark.parametrize("name", REAL)
def test_card(name: str) -> None:
    prove_card(REAL[name])


@pytest.mark.parametrize("name", REAL)
def test_stub_is_not_yet(name: str, shown: list[dict[str, Any]], libraries: None) -> None:
    prove_stub(REAL[name], repository(), shown)


@pytest.mark.parametrize("name", REAL)
def test_solution_passes(name: str, shown: list[dict[str, Any]], libraries: None) -> None:
    prove_solution(REAL[name], repository(), shown)


def _numpy(value: Any) -> Any:
    import numpy

    return {bool: numpy.bool_, int: numpy.int64, float: numpy.float64, str: numpy.str_}[type(value)](value)


def _torch(value: Any) -> Any:
    import torch

    return value if type(value) is str else torch.tensor(value, dtype=torch.float64 if type(value) is float else None)


def _fraction(value: Any) -> Any:
    return Fraction(value) if type(value) in (int, float) else value


def _decimal(value: Any) -> Any:
    return Decimal(value) if type(value) in (int, float) else value


def _as(value: Any, number: Callable[[Any], Any]) -> Any:
    """The value with its numbers and texts, also those in lists, tuples and dictionaries, as a library has them."""
    if type(value) in (bool, int, float, str):
        return number(value)
    if type(value) in (list, tuple):
        return type(value)(_as(part, number) for part in value)
    return {key: _as(part, number) for key, part in value.items()} if type(value) is dict else value


@pytest.mark.parametrize("number", [_numpy, _torch, _fraction, _decimal])
@pytest.mark.parametrize("name", REAL)
def test_numbers_of_another_library_are_right(name: str, number: Any, shown: Any, libraries: None) -> None:
    answer = solutions(REAL[name].topic, repository())[name]()
    if callable(answer):

        @functools.wraps(answer)
        def converted(*arguments: Any, **named: Any) -> Any:
            return _as(answer(*arguments, **named), number)

        assert verdict(shown, name, converted)[0] == "right", shown
    elif name.endswith("lion"):
        assert verdict(shown, name, _as(answer, number))[0] == "right", shown


def _divides(*_: Any, **__: Any) -> Any:
    return 1 / 0


@pytest.mark.parametrize("name", REAL)
def test_an_answer_that_raises_is_told_its_own_line_and_the_input(name: str, shown: Any, libraries: None) -> None:
    """Of every exercise whose answer is a function: no judge says a line of the course's, or nothing."""
    if not callable(solutions(REAL[name].topic, repository())[name]()):
        return
    line = _divides.__code__.co_firstlineno + 1
    piece = f"_divides raised ZeroDivisionError: division by zero in line {line}: `1 / 0`, for "
    assert piece in verdict(shown, name, _divides)[1]
    assert "_recurses raised RecursionError (a function" in verdict(shown, name, _recurses)[1]
    assert "does not take the arguments that it was called with, for " in verdict(shown, name, lambda: 1)[1]
    assert "is a class" in verdict(shown, name, Exercise)[1]
    assert "is an async function" in verdict(shown, name, _awaited_by_all)[1]
    assert "far too large" in (message := verdict(shown, name, lambda *_, **__: 10**5000)[1]) or "should" in message


async def _awaited_by_all(*_: Any, **__: Any) -> Any:
    return 1


@functools.cache
def alternatives(topic: str) -> dict[str, Any]:
    """What `tests/alternatives/<topic>.py` defines: ALTERNATIVES, MUTANTS, REFUSED and LIMITS, each by exercise.

    ALTERNATIVES: a function that makes a right answer in another style than the reference. MUTANTS: (old, new) pairs
    of text, each of which makes the reference solution wrong. REFUSED: (label, function that makes a wrong answer,
    piece of the message) of answers that once passed or were named wrongly. LIMITS: changes of a 🦁's reference results
    that lie exactly on its limits, and pass.
    """
    file = Path(__file__).parent / "alternatives" / f"{topic}.py"
    assert file.is_file(), f"write another right solution to each of the exercises of {topic} in {file.name}"
    return runpy.run_path(str(file))


SMALL = [name for name in REAL if not name.endswith("lion")]


@pytest.mark.parametrize("name", SMALL)
def test_another_right_solution_passes(name: str, shown: list[dict[str, Any]], libraries: None) -> None:
    answer = alternatives(REAL[name].topic)["ALTERNATIVES"][name]()
    assert verdict(shown, name, answer)[0] == "right", shown


@pytest.mark.parametrize("name", [name for name in REAL if name.endswith("lion")])
def test_results_on_a_limit_pass(name: str, shown: list[dict[str, Any]], libraries: None) -> None:
    """Of the lions with limits on what floats compute: those that ALTERNATIVES has."""
    make = alternatives(REAL[name].topic)["ALTERNATIVES"].get(name)
    if make:
        assert verdict(shown, name, make())[0] == "right", shown


@pytest.mark.parametrize("name", SMALL)
def test_mutants_and_answers_that_once_passed_are_refused(
    name: str, shown: list[dict[str, Any]], libraries: None, monkeypatch: Any
) -> None:
    monkeypatch.setattr(exercises, "SECONDS", 4)  # for mutants that never end
    defined = alternatives(REAL[name].topic)
    topic = REAL[name].topic
    file = notebook_of(topic, repository()).parents[1] / "solutions" / f"{topic}.py"
    source = file.read_text(encoding="utf-8")
    for old, new in defined.get("MUTANTS", {}).get(name, ()):
        assert source.count(old) == 1, f"{old!r} should stand once in the solutions of {topic}"
        space: dict[str, Any] = {"__name__": "mutant"}
        exec(compile(source.replace(old, new), "mutant", "exec"), space)
        assert verdict(shown, name, space["ANSWERS"][name]())[0] == "wrong", f"{old!r} as {new!r} passes"
    for label, make, piece in defined.get("REFUSED", {}).get(name, ()):
        outcome, message = verdict(shown, name, make())
        assert outcome == "wrong" and piece in message, f"{label}: {message}"


LIONS = [name for name in REAL if name.endswith("lion")]


@pytest.mark.parametrize("name", LIONS)
def test_results_on_a_limit_are_right(name: str, shown: list[dict[str, Any]], libraries: None) -> None:
    for changes in alternatives(REAL[name].topic).get("LIMITS", {}).get(name, ()):
        results = solutions(REAL[name].topic, repository())[name]() | changes
        assert verdict(shown, name, results)[0] == "right", shown


@pytest.mark.parametrize(("name", "label"), PLANTED)
def test_planted_mistake_is_named(name: str, label: str, shown: list[dict[str, Any]], libraries: None) -> None:
    prove_wrong(REAL[name], label, shown)


@pytest.mark.parametrize("label", GARBAGE)
@pytest.mark.parametrize("name", REAL)
def test_garbage(name: str, label: str, shown: list[dict[str, Any]], libraries: None) -> None:
    prove_garbage(REAL[name], label, shown)


@pytest.mark.parametrize("topic", sorted({exercise.topic for exercise in REAL.values()}))
def test_the_notebooks_cards_say_what_the_exercises_say(topic: str) -> None:
    """So the card, `smol progress` and the README's table (`smol:exercises`) give one title and one time."""
    known = [exercise for exercise in REAL.values() if exercise.topic == topic]
    assert cards(topic, repository()) == [
        f"{exercise.level} {exercise.title} ({TIMES[exercise.minutes]})" for exercise in known
    ]


def test_every_check_and_solution_has_its_exercise() -> None:
    topics = {exercise.topic for exercise in REAL.values()}
    for source in repository().glob("[0-9]*_*/notebooks/*.py"):
        text = source.read_text(encoding="utf-8")
        named = set(re.findall(r"""\b(?:check|hint)\(\s*["']([^"']+)["']""", text))
        assert named <= set(REAL), f"{source.name} checks what has no exercise: {sorted(named - set(REAL))}"
    for topic in topics:
        assert set(solutions(topic, repository())) == {name for name in REAL if name.startswith(f"{topic}/")}


def test_every_notebook_has_a_turtle_and_a_dog() -> None:
    for source in repository().glob("[0-9]*_*/notebooks/*.py"):
        assert {f"{source.stem}/turtle", f"{source.stem}/dog"} <= set(REAL), source.name
    for module in {source.parents[1] for source in repository().glob("[0-9]*_*/notebooks/*.py")}:
        topics = [source.stem for source in module.glob("notebooks/*.py")]
        assert any(f"{topic}/lion" in REAL for topic in topics), f"{module.name} has no 🦁"


def test_exercises_load_without_the_model_libraries() -> None:
    code = "import sys; from smol_course.exercises import all_exercises as a; a(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False", "`smol progress` would take seconds: import torch inside the judge"


# --- Checking -----------------------------------------------------------------------------------------------


def test_an_unknown_exercise_names_the_known(fake: SimpleNamespace) -> None:
    for use in (lambda: check("fake/lion", 1), lambda: hint("turtle"), lambda: check(Hostile(), 1)):  # type: ignore
        with pytest.raises(CourseError, match="fake/turtle, fake/dog"):
            use()


@pytest.mark.parametrize(("name", "level"), [("fake", "🐢"), ("fake/cat", "🐢"), ("fake/dog", "🐢")])
def test_an_id_that_does_not_fit_is_refused(name: str, level: str) -> None:
    with pytest.raises(ValueError, match="topic/turtle"):
        Exercise(name, level, "title", "goal", 5, lambda answer: None, (), ())


def test_what_a_judge_needs_is_imported_before_its_clock_starts(fake: SimpleNamespace) -> None:
    """In a fresh process and outside a notebook, where nothing is imported yet."""
    (fake.root / "package" / "slow.py").write_text(
        "import time\n"
        "from smol_course.exercises import Exercise\n"
        "def judge(answer):\n"
        "    import smol_slow_library\n"
        "EXERCISES = (Exercise('slow/turtle', '🐢', 't', 'g', 5, judge, ('h',), (), needs=('smol_slow_library',)),\n"
        "             Exercise('slow/dog', '🐕', 't', 'g', 5, judge, ('h',), (), needs=('smol_no_library',)))\n",
        encoding="utf-8",
    )
    (fake.root / "smol_slow_library.py").write_text("import time; time.sleep(1); loaded = True\n")
    code = textwrap.dedent("""
        import os, sys
        root = sys.argv[1]
        os.environ["SMOL_DATA"] = root + "/data"
        sys.path.insert(0, root)
        from smol_course import exercises
        exercises.__path__[:] = [root + "/package"]
        exercises.SECONDS = 0.5
        exercises.check("slow/turtle", 1)
        try:
            exercises.check("slow/dog", 1)
        except exercises.CourseError as error:
            print(error)
    """)
    command = [sys.executable, "-c", code, str(fake.root)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("✅ Right") and second.startswith("To check slow/dog, smol_no_library must be installed")


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ("def spin(x):\n while True: pass", "a loop that never ends?"),
        ("def spin(x):\n while True:\n  try: x\n  except Exception: pass", "a loop that never ends?"),
        ("def spin(x):\n import time\n time.sleep(3)", "restart the kernel"),
    ],
)
def test_an_endless_answer_is_left(
    fake: SimpleNamespace, shown: list[dict[str, Any]], monkeypatch: Any, loop: str, said: str
) -> None:
    monkeypatch.setattr(exercises, "SECONDS", 0.3)
    space: dict[str, Any] = {}
    exec(loop, space)
    check("fake/turtle", space["spin"])
    message = shown[0][MIME]["message"]
    assert shown[0][MIME]["verdict"] == "wrong" and "Stopped after 0.3 seconds" in message and said in message
    alive = [thread for thread in threading.enumerate() if thread.name == "smol check"]
    assert bool(alive) == ("restart" in said)
    for thread in alive:
        thread.join()


def test_what_the_answer_prints_is_kept_short(fake: SimpleNamespace, shown: list[dict[str, Any]], capsys: Any) -> None:
    check("fake/turtle", _shouts)
    printed = capsys.readouterr().out
    assert printed.startswith("Your code printed: xxx") and printed.endswith("…\n") and len(printed) < 700


def test_without_a_notebook_the_text_is_printed(
    fake: SimpleNamespace, monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setenv("SMOL_DATA", str(tmp_path / "data"))
    for answer, text in (
        (None, 'Not yet: your answer is still missing. hint("fake/dog") helps.\n'),
        ("SMOL", 'It is written smol. hint("fake/dog") helps.\n'),
        ("smol", "✅ Right: that makes 1 of 2 exercises solved.\n"),
    ):
        check("fake/dog", answer)
        assert capsys.readouterr().out == text


def test_in_a_notebook_the_result_is_data_beside_the_text(
    fake: SimpleNamespace, monkeypatch: Any, tmp_path: Path
) -> None:
    import IPython
    import IPython.display

    displayed: list[Any] = []
    monkeypatch.setenv("SMOL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(IPython, "get_ipython", object)
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: displayed.append((bundle, raw)))
    check("fake/dog", None)
    ((bundle, raw),) = displayed
    assert raw and set(bundle) == {MIME, "text/plain"} and bundle[MIME]["verdict"] == "not yet"


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("a", int, "it should be a whole number, but it is a text."),
        (True, int, "it should be a whole number, but it is True."),
        (1.5, int, "it should be a whole number, but it is 1.5, a number with a decimal point."),
        (MagicMock(spec=str), str, "but it is of type MagicMock."),
        (object(), (int, float), "it should be a number, but it is of type object"),
        (max, dict, "it should be a dictionary, but it is a function."),
        (Exercise, dict, "it should be a dictionary, but it is a class."),
        (10**400, float, "it is far too large: a number of more than 300 digits."),
    ],
    ids=["text", "bool", "fraction", "mock", "object", "function", "class", "huge"],
)
def test_expect_names_both_kinds(value: Any, kind: Any, said: str) -> None:
    with pytest.raises(Mistake, match=re.escape(said)):
        expect(value, kind, "it")


def test_numbers_of_every_library_are_numbers() -> None:
    import numpy
    import torch

    for value in (
        numpy.int64(3),
        numpy.float32(3),
        numpy.bool_(True),
        numpy.array(3),
        numpy.array(3.0),
        torch.tensor(3),
        torch.tensor(3.0, requires_grad=True),
        torch.tensor(3.0, dtype=torch.bfloat16),
        torch.tensor(True),
    ):
        kind = type(value.item())
        assert type(expect(value, kind, "it")) is kind and expect(value, kind, "it") == value.item()
    for floats in ([numpy.float32(0.1)], numpy.array([0.1], "float32"), [torch.tensor(0.1)], torch.tensor([0.1])):
        (value,) = expect(floats, list, "it")
        assert type(value) is float and value == 0.1
    for value, kind in (
        (Fraction(1, 4), float),
        (Decimal("0.25"), float),
        (Fraction(4, 2), int),
        (Decimal("2.0"), int),
    ):
        assert type(expect(value, kind, "it")) is kind and expect([value], list, "it") == [value]
    with pytest.raises(Mistake, match="it should be a number, but it is of type Decimal"):
        number(Decimal("nan"), "it")
    nested = {"shares": [numpy.int64(1), (torch.tensor(2), "a")]}
    assert expect(nested, dict, "it") == {"shares": [1, (2, "a")]}
    assert type(expect(nested, dict, "it")["shares"][1][0]) is int
    same = [1, 2.0, "a"]
    assert expect(same, list, "it") is same
    assert expect(3, float, "it") == 3 and number(numpy.float32(0.1), "it") == 0.1
    for wrong in (numpy.float64(3.5), numpy.bool_(True), torch.tensor(True), numpy.array(True), torch.ones(2), True):
        with pytest.raises(Mistake, match="a whole number"):
            expect(wrong, int, "it")
    for wrong in (numpy.bool_(True), torch.tensor(False), math.nan, numpy.array(math.inf), torch.tensor([1.0])):
        with pytest.raises(Mistake, match="number"):
            number(wrong, "it")


def test_results_hold_numbers_of_every_library() -> None:
    import numpy
    import torch

    parts = {"shares": list, "n": int, "verified": float}
    for shares_ in ([0.1, 0.2], numpy.array([0.1, 0.2]), torch.tensor([0.1, 0.2]), [numpy.float32(0.1), 0.2]):
        for n, verified in ((2, 1), (numpy.int64(2), numpy.float32(1)), (torch.tensor(2), torch.tensor(1.0))):
            results = complete({"shares": shares_, "n": n, "verified": verified, "more": None}, parts)
            assert results == {"shares": [0.1, 0.2], "n": 2, "verified": 1, "more": None}
    for empty in ({"shares": numpy.array([])}, {"n": numpy.int64(0)}, {"verified": torch.tensor(0.0)}):
        with pytest.raises(NotYet, match=f"still empty: {next(iter(empty))}."):
            complete({"shares": [0.1], "n": 2, "verified": 1.0} | empty, parts)
    assert complete({"better": False}, {"better": bool}) == {"better": False}


def test_limits_hold_exactly() -> None:
    assert 0.1 + 0.2 > 0.3 and at_most(0.1 + 0.2, 0.3) and at_least(0.3, 0.1 + 0.2) and at_least(0.8 - 0.7, 0.1)
    assert not at_most(0.3 + 1e-6, 0.3) and not at_least(0.3 - 1e-6, 0.3)
    assert at_most(3e9, 3e9) and not at_most(3e9 + 10, 3e9)
    assert not at_most(math.nan, 1) and not at_least(math.nan, 1)


def test_expect_and_call_pass_on_what_is_there() -> None:
    assert expect([], list, "it") == [] and expect(True, bool, "it") and expect(1, (int, float), "it") == 1
    assert returned(lambda value: None, 1) is None and returned(abs, -1) == 1
    assert call(max, 1, 2) == 2 and call(dict, a=1) == {"a": 1} and call(sorted, [1, 2], reverse=True) == [2, 1]
    for missing in (None, ..., NotImplemented):
        with pytest.raises(NotYet, match="missing"):
            expect(missing, str, "it")
        with pytest.raises(NotYet, match="missing"):
            call(missing)
        with pytest.raises(NotYet, match=f"your lambda returned {missing}, for value = {missing}: is a `return`"):
            call(lambda value: value, missing)


async def _awaited(value: Any) -> Any:
    return value


async def _awaited_one_by_one(value: Any) -> Any:
    yield value


def _todo() -> None:
    raise NotImplementedError


def test_call_names_what_went_wrong() -> None:
    with pytest.raises(NotYet, match="_todo is not implemented yet"):
        call(_todo)
    for function, message in (
        (_raises, r"_raises raised RuntimeError: from the learner's code in line \d+: `raise Run.*`, for 1\."),
        (_leaves, r"_leaves raised SystemExit: bye in line \d+: `sys.exit\(\"bye\"\)`, for 1\."),
        (
            _recurses,
            r"_recurses raised RecursionError \(a function that calls itself without an end\) in line \d+: "
            r"`_recurses\(\*arguments, \*\*named\)`, for 1\.",
        ),
        (lambda: 1, "your lambda does not take the arguments that it was called with, for 1: .* 0 positional arg"),
        ([], "Give the function itself, without calling it, not a list"),
        (object(), "Give the function itself, without calling it, not something of type object"),
        (Exercise, r"Give a function \(`def`\): Exercise is a class"),
        (_awaited, "_awaited is an async function, so calling it computes nothing"),
        (_awaited_one_by_one, "_awaited_one_by_one is an async function, so calling it computes nothing"),
        (lambda value: (yield value), "your lambda returned a generator, which has computed nothing yet"),
    ):
        with pytest.raises(Mistake, match=message):
            call(function, 1)


def _first_day(message: str, days: list[str]) -> str:
    found = [day for day in days if day in message]
    days.clear()
    return found[0]


CELL = """import json

def first(message):
    return {"at": helper(message)}

def helper(text):
    return text.split()[3]

def loads(text, strict=True):
    return json.loads(text)
"""


DEEP = {"title": "a", "day": None, "at": {"b": {"c": {}}}}


def test_an_exception_is_said_with_its_line_and_its_input() -> None:
    import numpy
    import torch

    def said(function: Any, *arguments: Any, **named: Any) -> str:
        with pytest.raises(Mistake) as caught:
            call(function, *arguments, **named)
        return str(caught.value)

    line = _first_day.__code__.co_firstlineno + 3
    assert said(_first_day, "gym friday", ["monday"]) == (
        f"_first_day raised IndexError: list index out of range in line {line}: `found[0]`, "
        "for message = 'gym friday', days = ['monday']."
    )
    assert "for message = 'gym', days = []." in said(_first_day, "gym", days=[])
    long = said(_first_day, "x" * 1000, [str(n) for n in range(1000)])
    assert len(long) < 400 and "xxx...xxx" in long and "..." in long.split("days = ")[1]
    # A cell of a notebook: the deepest line of the learner's, not of the library that he calls.
    shell = InteractiveShell.instance()
    shell.run_cell(CELL, store_history=False)
    assert "in line 7: `text.split()[3]`, for message = 'a b'" in said(shell.user_ns["first"], "a b")
    assert "in line 10: `json.loads(text)`, for text = '{'" in said(shell.user_ns["loads"], "{")
    space: dict[str, Any] = {}
    exec(compile("def weigh(x):\n return x[9]", "nowhere", "exec"), space)  # no source to be had
    assert said(space["weigh"], torch.ones(2, 3)).endswith("in line 2, for x = Tensor of shape (2, 3).")
    assert said(space["weigh"], max).endswith("in line 2, for x = max.")
    compiled = said(lambda size: numpy.random.default_rng(0).integers(0, size), "a")  # its frames name no file of ours
    assert ": `numpy.random.default_rng(0).integers(0, size)`, for size = 'a'." in compiled
    assert ", for event = {'title': 'a', 'day': None, 'at': {'b': {'c': {...}}}}." in said(lambda event: event.x, DEEP)
    assert said(lambda: 1, 2).startswith("your lambda does not take the arguments")  # it never came to a line
    apart = SimpleNamespace(kind="slot", parts=[SimpleNamespace(day=None)])
    assert said(lambda example: example.x, apart).endswith("for example = (kind='slot', parts=[(day=None)]).")


def test_a_hostile_exception_or_argument_does_not_stop_the_sentence() -> None:
    class Odd(Exception):
        __str__ = __repr__ = _raises

        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("no attributes")

    def odd(x: Any) -> None:
        raise Odd

    for argument in (Hostile(), [Hostile()], _itself(), _deep(), MagicMock(), "\ud800", type("T", (Hostile,), {})):
        with pytest.raises(Mistake, match="odd raised Odd"):
            call(odd, argument)
    for function in (MagicMock(side_effect=ValueError("no")), functools.partial(odd, 1), str.join):
        with suppress(RuntimeError), pytest.raises((Mistake, NotYet)):
            call(function, 1)


def test_what_should_raise_may_raise_a_subclass() -> None:
    def refuses(text: str) -> None:
        raise json.JSONDecodeError("no", text, 0)

    mistake = raised(refuses, "x")
    assert isinstance(mistake, Mistake) and isinstance(mistake.__cause__, ValueError)
    assert "refuses raised JSONDecodeError: no: line 1 column 1 (char 0) in line" in str(mistake)
    assert raised(lambda text: None, "x") is None and raised(str.upper, "x") is None
    with pytest.raises(NotYet, match="not implemented"):
        raised(lambda text: _todo(), "x")
    with pytest.raises(NotYet, match="missing"):
        raised(None, "x")


# --- Hints and progress -------------------------------------------------------------------------------------


def test_hints_open_one_at_a_time(fake: SimpleNamespace, shown: list[dict[str, Any]], capsys: Any) -> None:
    for opened in (1, 2, 3, 3):
        hint("fake/turtle")
        lines = capsys.readouterr().out.splitlines()
        assert lines[:opened] == ["Hint 1 of 3: Twice.", "Hint 2 of 3: Use +.", "Hint 3 of 3: x + x"][:opened]
    assert lines[3:] == ["There are no more hints."]
    hint("fake/dog")
    assert capsys.readouterr().out == "Hint 1 of 1: It is small.\n"


def test_what_is_solved_stays_solved(fake: SimpleNamespace, shown: list[dict[str, Any]]) -> None:
    check("fake/dog", "smol")
    file = fake.root / "data" / "progress.json"
    first = file.read_text()
    for answer in ("SMOL", None, "smol"):
        check("fake/dog", answer)
        assert exercises.solved() == {"fake/dog"} and file.read_text() == first


def test_progress_keeps_what_it_does_not_know(fake: SimpleNamespace, shown: list[dict[str, Any]]) -> None:
    file = fake.root / "data" / "progress.json"
    file.parent.mkdir()
    file.write_text('{"solved": {"later/lion": "2027-01-01"}, "theme": "dark"}')
    check("fake/dog", "smol")
    kept = json.loads(file.read_text())
    assert set(kept["solved"]) == {"later/lion", "fake/dog"} and kept["theme"] == "dark"


@pytest.mark.parametrize("text", ["{", "", "[]", "null", '{"solved": []}', "[" * 100_000, "\x00"])
def test_damaged_progress_is_moved_aside(
    fake: SimpleNamespace, shown: list[dict[str, Any]], capsys: Any, text: str
) -> None:
    file = fake.root / "data" / "progress.json"
    file.parent.mkdir()
    file.write_text(text)
    check("fake/dog", "smol")
    assert shown[0][MIME]["verdict"] == "right" and exercises.solved() == {"fake/dog"}
    (aside,) = file.parent.glob("progress.damaged-*.json")
    assert aside.read_text() == text and aside.name in capsys.readouterr().out


def test_progress_that_cannot_be_kept_is_said(
    fake: SimpleNamespace, shown: list[dict[str, Any]], monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (str(tmp_path / "file"), "a/relative/place"):
        monkeypatch.setenv("SMOL_DATA", place)
        check("fake/dog", "smol")
        assert shown[-1][MIME]["verdict"] == "right" and "could not be kept" in shown[-1][MIME]["message"]
    hint("fake/turtle")
    assert "Hint 3 of 3" in capsys.readouterr().out
    with pytest.raises(CourseError, match="cannot be used"):
        exercises.solved()


def test_two_notebooks_keep_both_solutions(fake: SimpleNamespace, tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, sys
        from smol_course import exercises
        os.environ["SMOL_DATA"] = sys.argv[1]
        for number in range(40):
            with exercises._progress() as progress:
                progress["solved"][f"{sys.argv[2]}/{number}"] = "now"
    """)
    commands = [[sys.executable, "-c", code, str(tmp_path / "data"), name] for name in ("a", "b")]
    both = [subprocess.Popen(command) for command in commands]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    kept = json.loads((tmp_path / "data" / "progress.json").read_text())
    assert len(kept["solved"]) == 80 and not list((tmp_path / "data").glob("*.tmp"))

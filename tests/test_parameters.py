"""What values parameters may have: in a notebook's cell, in `--set`, and in the studies."""

import runpy
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from smol_course import runner
from smol_course.errors import CourseError
from smol_course.parameters import listed, must, number, one_of, stated, whole
from smol_course.runner import sources
from smol_course.runner.sources import Notebook
from smol_course.runner.staleness import code_sha256

every_notebook = pytest.mark.parametrize("notebook", runner.notebooks(), ids=lambda notebook: notebook.name)


@every_notebook
def test_every_parameter_states_a_range_that_its_values_lie_in(notebook: Notebook) -> None:
    node = notebook.read()
    defaults = sources.parameters(node, notebook.name)
    ranges = stated(sources._parameter_lines(node))
    assert ranges.keys() == defaults.keys()
    runs = runpy.run_path(str(notebook.study))["RUNS"] if notebook.study.is_file() else {}
    for values in ({"parameters": defaults}, *runs.values()):
        for name, value in values["parameters"].items():
            must(name, value, ranges[name])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps=0", "steps cannot be 0: it must be a whole number of 1 or more."),
        ("steps=-5", "steps cannot be -5: it must be a whole number of 1 or more."),
        ("steps=True", "steps cannot be True: it must be a whole number of 1 or more."),
        ("steps=1_foo", "steps cannot be '1_foo': it must be a whole number of 1 or more."),
        ("steps=1e3", "steps cannot be 1000.0: it must be a whole number of 1 or more."),
        ("steps=" + "9" * 9999, "steps cannot be '99"),
        ("steps=" + "[" * 9999, "steps cannot be '[["),
        ("learning_rate=1e999", "learning_rate cannot be inf: it must be a number from 0 to 1."),
        ("learning_rate=nan", "learning_rate cannot be 'nan': it must be a number from 0 to 1."),
        ("learning_rate=" + "9" * 400, "learning_rate cannot be 99"),
        ("learning_rate=2", "learning_rate cannot be 2: it must be a number from 0 to 1."),
        ("ld_alpha={1, 2}", "ld_alpha cannot be {1, 2}: it must be a number from 0 to 1 or None."),
        ("ld_alpha={[1]}", "ld_alpha cannot be '{[1]}': it must be a number from 0 to 1 or None."),
        ("ld_alpha=b'a'", "ld_alpha cannot be b'a': it must be a number from 0 to 1 or None."),
        ("ld_alpha=1j", "ld_alpha cannot be 1j: it must be a number from 0 to 1 or None."),
        ("model_name=\udcff", "model_name cannot be '\\udcff': it must be a text."),
        ("pair_choice=best", "pair_choice cannot be 'best': it must be one of 'extremes', 'like_length'."),
        ("shuffle_preferences=1", "shuffle_preferences cannot be 1: it must be True or False."),
        ("\udcff", "--set \\udcff has no value: write --set name=value."),
    ],
)
def test_a_value_outside_gets_one_sentence_before_any_kernel_starts(text: str, sentence: str) -> None:
    with pytest.raises(CourseError) as caught:
        sources.settings_for(runner.notebooks(["2/dpo"]), [text])
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value) and len(str(caught.value)) < 160


def test_values_inside_are_taken_in_the_type_of_the_default() -> None:
    given = ["steps=7", "learning_rate=1", "ld_alpha=0.5", "model_name=1", "test_events=1_000"]
    (values,) = sources.settings_for(runner.notebooks(["2/dpo"]), given).values()
    assert values == {"steps": 7, "learning_rate": 1.0, "ld_alpha": 0.5, "model_name": "1", "test_events": 1000}
    assert type(values["learning_rate"]) is float


def test_a_range_holds_exactly() -> None:
    for (_, holds), inside, outside in (
        (whole(1, 3), (1, 3), (0, 4, 1.0, True, "1", None)),
        (number(0, 0.5), (0, 0.5, 0.25), (-0.1, 0.6, float("nan"), float("inf"), True, None)),
        (number(0, or_none=True), (None, 1e300), (float("inf"), "0")),
        (one_of("", 1), ("", 1), (True, 1.0, "1")),
        (listed("a", "b"), ("a", "a,b"), ("", "a,", "c", ["a"])),
        (listed(of=whole(1)), ("1", "1,4"), ("", "0", "1,x", 1)),
    ):
        assert all(holds(value) for value in inside) and not any(holds(value) for value in outside)


def test_an_annotation_changes_no_hash() -> None:
    plain, annotated = (
        jupytext.reads(f'# %% tags=["parameters"]\n{lines}', fmt="py:percent").cells
        for lines in ("a = 1\nb = 'x'", "from smol_course.parameters import whole\na: whole(1) = 1\nb: str = 'x'")
    )
    assert code_sha256(plain) == code_sha256(annotated)
    assert code_sha256(plain) != code_sha256(jupytext.reads('# %% tags=["parameters"]\na = 2', fmt="py:percent").cells)


CELLS = [
    "from smol_course.parameters import number, whole\nsteps: whole(1) = -5\nrate: number(0, 1) = 0.1",
    "from smol_course.parameters import number, whole\nsteps: whole(1) = 5\nrate: number(0, 1) = 0.1",
    "from smol_course.parameters import number, whole\nsteps: whole(1) = 0\nrate: number(0, 1) = 0.1",
    "# Parameters\nrate = 7",  # as papermill puts it
    "steps = 0\nprint(steps)",  # a cell that does something else may use the name
    "import random\ndice = random.Random(1)",
    "print(dice.random(), random.random())",
]
SCRIPT = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.showtraceback = lambda *_, **__: print(type(sys.exc_info()[1]).__name__, sys.exc_info()[1])
for cell in eval(sys.argv[1]):
    for _ in range(2):
        shell.run_cell(cell)
"""


def test_the_cell_itself_says_it_and_the_dice_lie_as_they_lay() -> None:
    root = Path(sources.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT, repr(CELLS)], capture_output=True, text=True, cwd=root)
    *said, once, twice = done.stdout.splitlines()
    assert said == [
        *["CourseError steps cannot be -5: it must be a whole number of 1 or more."] * 2,
        *["CourseError steps cannot be 0: it must be a whole number of 1 or more."] * 2,
        *["CourseError rate cannot be 7: it must be a number from 0 to 1."] * 2,
        *["0"] * 2,
    ]
    assert once == twice

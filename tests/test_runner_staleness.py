"""What makes outputs and studies stale, what does not, and builds that keep outputs: on tiny notebooks."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from rich.console import Console

from smol_course import cli, runner
from smol_course.runner import staleness, syntax

ROOT = Path(__file__).resolve().parents[1]

NOTEBOOK = """\
# %% [markdown]
# # A title

# %% tags=["parameters"]
factor = 2

# %% tags=["setup"]
from pathlib import Path
from smol_course.metrics import record
rows = Path("../data.txt").read_text()

# %%
# Only a comment: it does nothing.

# %%
# How many characters.
record("characters", factor * len(rows), n=1)
print("counted")

# %% tags=["study"]
print(Path("../lesson.md").read_text()[:6])
"""


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    """A course with one notebook and its study, built once."""
    root = tmp_path_factory.mktemp("built")
    module = root / "1_instruction_tuning"
    for folder in ("notebooks", "studies"):
        (module / folder).mkdir(parents=True)
    for name, text in {"pyproject.toml": "", "requirements.txt": "torch==1\n", "unread.txt": "x"}.items():
        (root / name).write_text(text)
    (module / "data.txt").write_text("data\n")
    (module / "lesson.md").write_text("lesson <!--smol:value 1/counts characters .0f-->?<!--/smol-->")
    (module / "notebooks" / "counts.py").write_text(NOTEBOOK)
    (module / "studies" / "counts.py").write_text("RUNS = {'three': {'parameters': {'factor': 3}}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("smol_course.runner.building.machine", lambda: "2 cores")
        console = Console(quiet=True)
        assert runner.build([], False, False, False, False, console) == 0
        assert runner.study("1/counts", None, False, console) == 0
    return root


@pytest.fixture
def course(built_once, tmp_path, monkeypatch):
    """A copy of it; `edit` changes the text source."""
    root = tmp_path / "course"
    shutil.copytree(built_once, root)
    monkeypatch.chdir(root)
    (notebook,) = runner.notebooks(["1/counts"])

    def edit(old: str, new: str) -> None:
        text = notebook.source.read_text()
        assert text.count(old) == 1
        notebook.source.write_text(text.replace(old, new))

    return SimpleNamespace(root=root, module=notebook.module, notebook=notebook, edit=edit)


@pytest.fixture
def smol(monkeypatch, capsys):
    """Call the command line in this process; gives the exit status and what was printed."""

    def call(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr("sys.argv", ["smol", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return SimpleNamespace(status=ended.value.code or 0, out=printed.out, err=printed.err)

    return call


def metadata(course) -> dict:
    return nbformat.read(course.notebook.ipynb, as_version=4).metadata.smol


def test_what_a_run_opens_is_recorded(course):
    lesson, data = "1_instruction_tuning/lesson.md", "1_instruction_tuning/data.txt"
    assert set(metadata(course).opened) == {lesson, data}
    run = json.loads(course.notebook.study_results.read_text())["runs"]["three"]
    assert set(run["opened"]) == {data}, "a study leaves out the cells that draw it"
    assert runner.stale(course.notebook) is None


@pytest.mark.parametrize(
    ("name", "stales"),
    [("1_instruction_tuning/data.txt", True), ("1_instruction_tuning/lesson.md", True), ("unread.txt", False)],
)
def test_a_changed_file_makes_stale_what_opened_it(course, name, stales):
    path = course.root / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert runner.stale(course.notebook) is None, "line ends are no change"
    path.write_text(path.read_text() + "more\n")
    reason = runner.stale(course.notebook)
    assert bool(reason) == stales and (not stales or f"{name} changed after its outputs" in reason)
    path.unlink()
    assert bool(runner.stale(course.notebook)) == stales


def test_a_number_filled_into_a_lesson_makes_nothing_stale(course):
    lesson = course.module / "lesson.md"
    lesson.write_text(lesson.read_text().replace(">10<", ">99<"))
    assert ">99<" in lesson.read_text() and runner.stale(course.notebook) is None
    lesson.write_text(lesson.read_text().replace("lesson ", "Lesson "))
    assert "lesson.md changed" in runner.stale(course.notebook)


def test_results_of_a_study_count_and_its_bookkeeping_does_not(course):
    results = course.notebook.study_results
    study = json.loads(results.read_text())
    before = staleness.file_hash(results)
    study["runs"]["three"]["opened"] = {}
    study["package"] = {"record": "00000000"}
    results.write_text(json.dumps(study))
    assert staleness.file_hash(results) == before
    study["runs"]["three"]["results"][0]["value"] += 1
    results.write_text(json.dumps(study))
    assert staleness.file_hash(results) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# # A title", "# # Another title"),
        ("# How many characters.", "# So many characters are there."),
        ("# Only a comment: it does nothing.", "# Another comment."),
        ("factor * len(rows), n=1)", "factor*len( rows ),\n       n = 1)"),
        ("from smol_course.metrics import record\n", "from smol_course.metrics import record, wilson\n"),
    ],
)
def test_text_comments_and_layout_keep_outputs(course, smol, old, new):
    """One word costs seconds: no kernel starts, and costs and machine stay."""
    before = metadata(course)
    course.edit(old, new)
    assert staleness.outputs_stand(course.notebook) is None
    assert "differ" in runner.stale(course.notebook), "but the notebook is to be written anew"
    begun = time.perf_counter()
    done = smol("build", "1/counts")
    assert time.perf_counter() - begun < 5 and not list(course.root.glob("runs/*"))
    assert done.status == 0 and "Outputs kept, as the code does what it did: 1/counts" in done.out
    assert runner.stale(course.notebook) is None
    after = metadata(course)
    assert {k: v for k, v in after.items() if k != "cells_sha256"} == {
        k: v for k, v in before.items() if k != "cells_sha256"
    }
    node = nbformat.read(course.notebook.ipynb, as_version=4)
    printed = [output.text for cell in node.cells for output in cell.get("outputs", []) if "text" in output]
    assert printed == ["counted\n", "lesson\n"]
    counts = [cell.execution_count for cell in node.cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4, 5]
    assert "differ" not in str(staleness._stale_study(course.notebook))


def test_the_cell_that_installs_on_colab_does_not_count(course, smol):
    """Where results are measured it does nothing; what it names, and whether it is there, may change."""
    course.edit('# %% tags=["parameters"]', '# %% tags=["install"]\nprint("installing")\n\n# %% tags=["parameters"]')
    assert staleness.outputs_stand(course.notebook) is None and staleness._stale_study(course.notebook) is None
    assert "Outputs kept" in smol("build").out and runner.stale(course.notebook) is None
    course.edit('print("installing")', 'print("installing more")')
    assert "Outputs kept" in smol("build").out and runner.stale(course.notebook) is None
    assert "installing" not in str([cell.source for cell in staleness.study_node(course.notebook).cells])
    course.edit('tags=["install"]', 'tags=["setup"]')
    assert "its code changed" in runner.stale(course.notebook) and staleness._stale_study(course.notebook)


def test_a_cell_that_only_comments_may_go(course, smol):
    course.edit("# %%\n# Only a comment: it does nothing.\n\n", "")
    assert "Outputs kept" in smol("build").out and runner.stale(course.notebook) is None


@pytest.mark.parametrize(
    ("old", "new", "study_too"),
    [
        ("factor * len(rows)", "factor + len(rows)", True),
        ('print("counted")', 'print("Counted")', True),
        ("factor = 2", "factor = 4", False),  # the study's run gives it
        ("[:6]", "[:5]", False),
        ('# %% tags=["study"]', "# %%", True),
    ],
)
def test_other_code_makes_stale(course, old, new, study_too):
    course.edit(old, new)
    assert "its code changed after its outputs" in runner.stale(course.notebook)
    reason = staleness._stale_study(course.notebook)
    assert bool(reason) == study_too and (not reason or "its code changed after its study" in reason)


def test_a_study_runs_again_what_opened_another_file(course, smol):
    (course.module / "data.txt").write_text("other data\n")
    assert "no results of 'three' with these parameters and files" in staleness._stale_study(course.notebook)
    done = smol("study", "1/counts")
    assert done.status == 0 and "Done already" not in done.out and staleness._stale_study(course.notebook) is None
    assert "Done already with these sources: three." in smol("study", "1/counts").out


def test_fresh_runs_all_the_same(course, smol, monkeypatch):
    monkeypatch.setattr("smol_course.runner.building.machine", lambda: "another machine")
    assert smol("build", "--fresh").status == 0 and metadata(course).machine == "another machine"


def test_other_pins_and_other_package_code_only_warn(course, monkeypatch):
    (course.root / "requirements.txt").write_text("torch==2\n")
    with pytest.warns(UserWarning, match="other pinned requirements"):
        assert runner.stale(course.notebook) is None
    (course.root / "requirements.txt").write_bytes(b"torch==1\r\n")
    monkeypatch.setattr(staleness, "package_of", lambda *_: {"record": "00000000"})
    with pytest.warns(UserWarning, match=r"other code of the package \(record\)"):
        assert runner.stale(course.notebook) is None


def test_a_run_that_a_file_changed_under_starts_that_notebook_again(course, smol):
    course.edit('print("counted")', 'print("counted", 1 / 0)')
    assert smol("run").status == 1
    course.edit('print("counted", 1 / 0)', 'print("counted")')
    done = smol("run")
    assert done.status == 0 and "done already" not in done.out
    (state,) = course.root.glob("runs/*/state.json")
    saved = json.loads(state.read_text())
    saved["finished"] = False
    state.write_text(json.dumps(saved))
    assert "1/counts done already" in smol("run").out
    saved = json.loads(state.read_text()) | {"finished": False}
    state.write_text(json.dumps(saved))
    (course.module / "data.txt").write_text("other")
    assert "done already" not in smol("run").out


def test_hashes_do_not_know_line_ends(course):
    """A checkout on Windows may have others in the requirements, and Jupyter there writes them into cells."""
    text = "x = 1\ny = 2"
    unix, windows = (new_code_cell(source) for source in (text, text.replace("\n", "\r\n")))
    for told in (staleness.cells_sha256, staleness.code_sha256):
        assert told([unix]) == told([windows])
        assert told([unix]) != told([new_code_cell(text.replace("y", "z"))])
    assert staleness.cells_sha256([unix]) != staleness.cells_sha256([new_code_cell(text.replace("\n", "\n\n"))])
    pins, before = course.root / "requirements.txt", staleness.requirements_sha256(course.root)
    pins.write_bytes(pins.read_bytes().replace(b"\n", b"\r\n"))
    assert staleness.requirements_sha256(course.root) == before


# --- What is compared ---------------------------------------------------------------------------------------


def test_code_is_compared_by_what_it_does():
    same = syntax.cell_shape("x = f(1, 'a')  # why\n")
    assert syntax.cell_shape('# other\nx = f(\n    1,\n    "a",\n)') == same
    assert syntax.cell_shape("from smol_course.x import f\nx = f(1, 'a')") == same
    for other in (
        "x = f(1, 'b')",
        "x = f(True, 'a')",
        "x = f(1.0, 'a')",
        "y = f(1, 'a')",
        "x = f('a', 1)",
        "x += f(1, 'a')",
    ):
        assert syntax.cell_shape(other) != same, other
    assert syntax.cell_shape("import os\nx = f(1, 'a')") != same
    assert syntax.cell_shape("# nothing\nfrom smol_course.data import events") == []
    assert syntax.cell_shape("%matplotlib inline\r\n") == "%matplotlib inline"


@pytest.fixture
def package(tmp_path):
    """A package with a function, what it uses, and what it does not."""
    folder = tmp_path / "smol_course"
    (folder / "kit").mkdir(parents=True)
    (folder / "kit" / "__init__.py").write_text("")
    (folder / "metrics.py").write_text(
        "from smol_course.kit.words import words\nLIMIT = 0.5\nOTHER = 1\n"
        "def right(text):\n    return score(text) >= LIMIT\ndef score(text):\n    return len(words(text))\n"
        "def unused():\n    return OTHER\n"
    )
    (folder / "kit" / "words.py").write_text("SIGN = ' '\ndef words(text):\n    return text.split(SIGN)\n")
    return folder


def hashes(package: Path, cell: str = "from smol_course.metrics import right") -> dict[str, str]:
    return syntax.package_hashes([cell], package.parent)


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("metrics.py", "LIMIT = 0.5", "LIMIT = 0.9", True),
        ("metrics.py", "OTHER = 1", "OTHER = 2", False),
        ("metrics.py", ">= LIMIT", "> LIMIT", True),
        ("metrics.py", "return score(text)", "# by its words\n    return  score( text )", False),
        ("kit/words.py", "SIGN = ' '", "SIGN = ','", True),
        ("kit/words.py", "SIGN = ' '", "SIGN = ' '\nMORE = 1", False),
    ],
)
def test_the_package_is_compared_by_what_a_notebook_reaches(package, file, old, new, changes):
    before = hashes(package)
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    assert (hashes(package) != before) == changes


def test_moving_a_definition_changes_nothing(package):
    before = hashes(package)
    (package / "rules.py").write_text((package / "metrics.py").read_text())
    (package / "metrics.py").unlink()
    assert hashes(package, "from smol_course.rules import right") == before
    through = hashes(package, "from smol_course import rules\nprint(rules.right('a'))")
    assert list(through) == ["rules"] and through["rules"] == before["right"]


def test_title_f1_reaches_those_who_judge_events_and_no_others():
    """On the course itself: what `TITLE_F1` decides is what event accuracy rests on."""
    metrics = (ROOT / "smol_course" / "metrics.py").read_text(encoding="utf-8")
    assert metrics.count("TITLE_F1 = 0.5") == 1
    cells = {
        name: f"from smol_course.metrics import {name}" for name in ("event_right", "score_events", "wilson", "record")
    }
    before = {name: syntax.package_hashes([cell], ROOT)[name] for name, cell in cells.items()}
    read = Path.read_text

    def other(path: Path, **how: str) -> str:
        text = read(path, **how)
        return text.replace("TITLE_F1 = 0.5", "TITLE_F1 = 0.9") if path.name == "metrics.py" else text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", other)
        after = {name: syntax.package_hashes([cell], ROOT)[name] for name, cell in cells.items()}
    assert {name for name in cells if before[name] != after[name]} == {"event_right", "score_events"}


# --- Any number of modules ----------------------------------------------------------------------------------


def test_a_ninth_and_a_tenth_module_are_modules(course, smol):
    for name in ("9_toy", "10_more", "x_none", "9"):
        (course.root / name / "notebooks").mkdir(parents=True)
    (course.root / "9_toy" / "notebooks" / "first.py").write_text("# %%\n1\n")
    (course.root / "10_more" / "notebooks" / "second.py").write_text("# %%\n1\n")
    assert [module.name for module in runner.modules()] == ["1_instruction_tuning", "9_toy", "10_more"]
    assert [n.name for n in runner.notebooks(["all"])] == ["1/counts", "9/first", "10/second"]
    assert [n.name for n in runner.notebooks(["10", "9_toy/first", "1_instruction_tuning"])] == [
        "10/second",
        "9/first",
        "1/counts",
    ]
    assert [n.name for n in runner.notebooks([str(course.notebook.ipynb)])] == ["1/counts"]
    for wrong in ("1_foo/counts", "1_foo", "0", "9/second"):
        assert smol("run", wrong).status == 2, wrong

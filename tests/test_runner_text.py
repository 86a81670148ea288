"""The marks in Markdown, on a tiny course whose notebook and study have only their recorded numbers."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_notebook

from smol_course.errors import CourseError
from smol_course.runner import refresh_text, text
from smol_course.runner.sources import notebooks

ROOT = Path(__file__).resolve().parents[1]


def result(name: str, value: float, low: float | None = None, high: float | None = None, n: int | None = None) -> dict:
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "seed": None}


RIGHT = [result("before_right", 0.25, 0.2, 0.3, 80), result("after_right", 0.5, 0.4, 0.6, 80), result("words", 12.34)]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one module and one notebook; `fill` writes a page, fills it in and returns it."""
    module = tmp_path / "1_instruction_tuning"
    (module / "notebooks").mkdir(parents=True)
    (module / "studies").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(text, "address", lambda: "https://github.com/some/course")
    for topic in ("tune", "unbuilt"):
        (module / "notebooks" / f"{topic}.py").write_text("# %%\n1\n")
    (module / "README.md").write_text("# 1. Tuning\n[t](notebooks/tune.ipynb)")
    monkeypatch.chdir(tmp_path)
    smol = {"seconds": 34.0, "peak_mb": 512.0, "machine": "2 cores | 8 GB", "results": RIGHT}
    nbformat.write(new_notebook(metadata={"smol": smol}), module / "notebooks" / "tune.ipynb")
    runs = {run: {"results": RIGHT[:2] + [result("words", at)]} for at, run in enumerate(("seed_1", "seed_2"), 1)}
    (module / "studies" / "tune.json").write_text(json.dumps({"runs": runs}))
    page = module / "lesson.md"

    def fill(written: str) -> str:
        page.write_text(written, encoding="utf-8")
        refresh_text(write=True)
        filled = page.read_text(encoding="utf-8")
        assert refresh_text(write=False) == [], "filling in twice changes something"
        return filled

    return SimpleNamespace(root=tmp_path, module=module, fill=fill)


def table(course, definition: str, mark: str = "table 1/tune") -> list[str]:
    """The rows that a definition gives."""
    start = f"<!--smol:{mark}\n{definition}\n-->"
    filled = course.fill(f"Above.\n\n{start}<!--/smol-->\n\nBelow.\n")
    assert filled.startswith(f"Above.\n\n{start}\n| ") and filled.endswith(" |\n<!--/smol-->\n\nBelow.\n")
    return filled.removeprefix(f"Above.\n\n{start}\n").split("\n<!--/smol-->")[0].splitlines()


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("value 1/tune after_right %", "50 %"),
        ("value 1/tune after_right %ci", "50 % (40 to 60, n = 80)"),
        ("value 1/tune words .1f", "12.3"),
        ("value 1/tune words x", "12.3 times"),
        ("value 1/tune notebook:words .0f", "12"),
        ("value 1/tune seed_2:words .0f", "2"),
        ("value 1/unbuilt words .0f", "not measured yet"),
        ("value 1/unbuilt seed_1:words .0f", "not measured yet"),
        ("address", "https://github.com/some/course"),
    ],
)
def test_a_mark_in_a_sentence(course, mark, shown):
    assert (
        course.fill(f"It is <!--smol:{mark}-->old<!--/smol-->.\n") == f"It is <!--smol:{mark}-->{shown}<!--/smol-->.\n"
    )


def test_tables_of_costs_modules_and_a_colab_badge(course):
    marks = ("costs 1", "modules", "colab 1/tune")
    filled = course.fill("\n\n".join(f"<!--smol:{mark}--><!--/smol-->" for mark in marks))
    badge = (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        "(https://colab.research.google.com/github/some/course/blob/main/1_instruction_tuning/notebooks/{}.ipynb)"
    )
    assert f"| [tune](notebooks/tune.ipynb) | 34 s | 512 MB | 2 cores \\| 8 GB | {badge.format('tune')} |" in filled
    assert f"| [unbuilt](notebooks/unbuilt.ipynb) | not measured yet |  |  | {badge.format('unbuilt')} |" in filled
    assert "| [1. Tuning](README.md) | 2 | not measured yet |" in filled
    assert f"<!--smol:colab 1/tune-->{badge.format('tune')}<!--/smol-->" in filled


# --- Tables of runs -----------------------------------------------------------------------------------------

RUNS = """\
run
right, before and after | {*:before_right %} → {*:after_right %ci}
words | {*:words .0f}

the notebook | notebook
seed 1 | seed_1
another \\| seed | seed_2"""


def test_a_table_whose_rows_are_runs(course):
    assert table(course, RUNS) == [
        "| run | right, before and after | words |",
        "| --- | --- | ---: |",
        "| the notebook | 25 % → 50 % (40 to 60, n = 80) | 12 |",
        "| seed 1 | 25 % → 50 % (40 to 60, n = 80) | 1 |",
        "| another \\| seed | 25 % → 50 % (40 to 60, n = 80) | 2 |",
    ]


def test_a_table_without_a_heading_for_its_labels_whose_rows_are_numbers(course):
    rows = table(course, "before | {before_*}\nafter | {seed_1:after_*}\n\nright | right %")
    assert rows == ["|  | before | after |", "| --- | ---: | ---: |", "| right | 25 % | 50 % |"]


def test_rows_that_give_their_cells_over_several_lines_and_from_another_notebook(course):
    rows = table(
        course,
        "form | {words .1f}, *\ntext |\n\nfirst\n  | {1/tune seed_2:words .1f}, a \\| b\n  | the *same*\n"
        "| | {words .1f}",
        "table 1/unbuilt",
    )
    assert rows[2:] == ["| first | 2.0, a \\| b | the *same* |", "|  |  | not measured yet |"]
    assert table(course, "n |\n\nfirst | {1/tune words .1f}", "table")[2:] == ["| first | 12.3 |"]


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (RUNS.replace("seed_1", "seed_9"), "the study of 1/tune has no run 'seed_9'; it has: seed_1, seed_2"),
        (RUNS.replace(":words", ":wrods"), "1/tune recorded no 'wrods'; it recorded: before_right, after_right, words"),
        (RUNS.replace(".0f", "7q"), "'7q' is no form of a number"),
        (RUNS.replace("words .0f", "words %ci"), "recorded 'words' without interval or n: write %"),
        (RUNS.replace(" .0f", ""), "{notebook:words} is no reference: write {NUMBER FORM}"),
        (RUNS.replace("{*:words .0f}", "some"), "the column 'words' has no * for the row 'the notebook'"),
        (RUNS + "\nlast | {words .0f} | | ", "the row 'last' has 3 cells beside its label, the table 2 columns"),
        (RUNS + "\nlast | {words .0f}", "the row 'last' has 1 cells beside its label, the table 2 columns"),
        (RUNS + "\nlast", "the row 'last' has 0 cells"),
        (RUNS.replace("words |", "words"), "a table is lines `heading | template`"),
        (RUNS.replace("\n\n", "\n"), "a table is lines `heading | template`"),
        ("run\n\nseed 1 | seed_1", "a table is lines `heading | template`"),
    ],
)
def test_a_wrong_table_is_named(course, definition, reason):
    with pytest.raises(CourseError) as error:
        table(course, definition)
    assert reason in str(error.value) and str(error.value).startswith("lesson.md, <!--smol:table 1/tune: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ("value 1/tune after_rihgt %-->", "recorded no 'after_rihgt'; it recorded: before_right"),
        ("value 1/tune seed_9:words .0f-->", "has no run 'seed_9'; it has: seed_1, seed_2"),
        ("value 1/nothing x %-->", "There is no notebook '1/nothing'"),
        ("vlaue 1/tune words x-->", "<!--smol:vlaue 1/tune words x is not one of the marks"),
        ("value 1/tune words 7q-->", "'7q' is no form of a number"),
        ("value 1/tune words x\nand | more\n-->", "is not one of the marks"),
        ("table 1/tune-->", "is not one of the marks"),
        ("costs-->", "is not one of the marks"),
        ("value 1/tune words x-->12<!--smol:address-->", "a mark is not closed by <!--/smol-->"),
        ("table 1/tune\n\nno end\n", "a mark is not closed by <!--/smol-->, or cannot be read"),
    ],
)
def test_a_wrong_mark_is_named_and_nothing_is_written(course, mark, reason):
    written = f"Before.\n<!--smol:{mark}<!--/smol-->\n"
    with pytest.raises(CourseError, match=re.escape(reason)) as error:
        course.fill(written)
    assert "lesson.md" in str(error.value) and "\n" not in str(error.value)
    assert (course.module / "lesson.md").read_text(encoding="utf-8") == written


# --- The course's own pages ---------------------------------------------------------------------------------

PAGES = [page for pattern in ("README.md", "[0-9]*_*/*.md", "docs/**/*.md") for page in ROOT.glob(pattern)]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_diff_of_the_page_can_be_read(page):
    """Lines with marks, and those of a table's mark, are short, and none makes Markdown take prose for HTML."""
    marked = [line for line in page.read_text(encoding="utf-8").splitlines() if "smol:" in line and line[0] != "|"]
    assert [line for line in marked if len(line) > 300] == []
    assert [line for line in marked if re.match(r"[-*>\d. ]*<!--smol:value", line)] == [], (
        "begin such a line with a word"
    )


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_folded_answer_opens_and_closes_on_lines_of_their_own(page):
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if "details>" in line]
    assert [line for line in lines if not re.fullmatch(r"</details>|<details><summary>[^<]+</summary>", line)] == []


# --- Exercises ----------------------------------------------------------------------------------------------


def test_the_table_of_a_modules_exercises(course, monkeypatch):
    known = [
        SimpleNamespace(topic=topic, level=level, title=title, goal="Do it.", minutes=minutes)
        for topic, level, title, minutes in (
            ("other", "🐢", "Elsewhere", 5),
            ("tune", "🐢", "Either | or", 5),
            ("tune", "🦁", "A dream", 60),
        )
    ]
    monkeypatch.setattr(text, "all_exercises", lambda: known)
    assert course.fill("<!--smol:exercises 1-->\n<!--/smol-->").splitlines()[1:-1] == [
        "|  | exercise | goal | notebook | minutes |",
        "| --- | --- | --- | --- | --- |",
        "| 🐢 | **Either \\| or** | Do it. | [tune](notebooks/tune.ipynb) | 5 |",
        "| 🦁 | **A dream** | Do it. | [tune](notebooks/tune.ipynb) | 60 or more |",
    ]


def test_a_new_modules_pages_are_filled_in_too(course):
    assert [notebook.name for notebook in notebooks()] == ["1/tune", "1/unbuilt"]
    for folder in ("9_more", "10_most"):
        (course.root / folder).mkdir()
        (course.root / folder / "README.md").write_text("<!--smol:address--><!--/smol-->")
    assert refresh_text(write=False) == ["10_most/README.md", "9_more/README.md"]

"""Fill in the generated text of the Markdown files: costs, exercises, measured numbers, links to the project.

A place is marked ``<!--smol:WHAT ARGUMENTS-->...<!--/smol-->``; everything between is generated from the notebooks'
metadata, which is the only source of a number in any text. The words of a table stand in its mark, beside references to
the numbers; `docs/contributing.md` shows every mark. Nothing here knows Markdown beyond tables.
"""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.exercises import LEVELS, all_exercises
from smol_course.files import save_text
from smol_course.runner.sources import modules, notebooks
from smol_course.runner.staleness import recorded
from smol_course.runner.words import duration, interval, memory, percent
from smol_course.settings import address, repository

_PLACE = re.compile(r"(<!--smol:(\w+)((?: [^\s>]+)*)(?: ?|\n(.*?)\n)-->)(.*?)(<!--/smol-->)", re.DOTALL)
_BAR = re.compile(r"(?<!\\)\|")  # one that no backslash stands before
_PLAIN = re.compile(r"[-−\d.,]*( %)?")
NOT_YET = "not measured yet"


def _link(said: str, target: Path, page: Path) -> str:
    return f"[{said.replace('_', ' ')}]({Path(os.path.relpath(target, page.parent)).as_posix()})"


def _cost(*runs: dict[str, Any]) -> tuple[str, str]:
    """What notebooks take together, by what each recorded: time and peak memory."""
    if not runs or not all(runs):
        return NOT_YET, ""
    return duration(sum(run["seconds"] for run in runs)), memory(max(run["peak_mb"] for run in runs))


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; columns of plain numbers after the first stand to the right."""
    right = {n for n in range(1, len(header)) if any(row[n] for row in rows)}
    right = {n for n in right if all(_PLAIN.fullmatch(row[n]) for row in rows)}
    rule = tuple("---:" if n in right else "---" for n in range(len(header)))
    lines = [[_BAR.sub(r"\|", cell) for cell in line] for line in (header, rule, *rows)]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _costs(page: Path, module: str) -> str:
    """The table of a module's notebooks with what each costs, and where it opens."""
    rows = []
    for notebook in notebooks([module]):
        known, link = recorded(notebook), _link(notebook.topic, notebook.ipynb, page)
        rows.append((link, *_cost(known), known.get("machine", ""), _colab(page, notebook.name)))
    return _table(("notebook", "time", "peak memory", "measured on", ""), rows)


def _modules(page: Path) -> str:
    """The table of all modules: title, notebooks, and what they cost together."""
    rows = []
    for module in modules():
        readme = module / "README.md"
        heading = re.search(r"^# +(.+?) *$", readme.read_text(encoding="utf-8"), re.MULTILINE)
        every = [notebook for notebook in notebooks() if notebook.module == module]
        link = _link(heading[1] if heading else module.name, readme, page)
        rows.append((link, str(len(every)), *_cost(*map(recorded, every))))
    return _table(("module", "notebooks", "time", "peak memory"), rows)


def _value(page: Path, name: str, number: str, form: str) -> str:
    """A number that the notebook recorded (or a run of its study, as ``run:number``), written in one of the forms."""
    (notebook,) = notebooks([name])
    run, _, number = number.rpartition(":")
    built = recorded(notebook)
    if run not in ("", "notebook"):
        study = notebook.study_results
        runs = json.loads(study.read_text(encoding="utf-8"))["runs"] if study.is_file() else {run: {}}
        if run not in runs:
            raise CourseError(f"the study of {name} has no run {run!r}; it has: {', '.join(runs)}.")
        built = runs[run]
    if not built:
        return NOT_YET
    records = {record["name"]: record for record in built.get("results", [])}
    if number not in records:
        raise CourseError(f"{name} recorded no {number!r}; it recorded: {', '.join(records) or 'nothing'}.")
    record, value = records[number], records[number]["value"]
    if form == "%":
        return f"{percent(value)} %"
    if form == "x":
        return f"{value:.1f} times"
    if form == "%ci":
        if record["low"] is None or record["high"] is None or record["n"] is None:
            raise CourseError(f"{name} recorded {number!r} without interval or n: write %.")
        return f"{percent(value)} % ({interval(record, percent)}, n = {record['n']})"
    try:
        return format(value, form)
    except (TypeError, ValueError) as error:
        raise CourseError(f"{form!r} is no form of a number: write %, %ci, x or a format such as .2f.") from error


def _number(page: Path, notebook: str, reference: re.Match[str]) -> str:
    """The number to which a reference, ``{NUMBER FORM}`` or ``{NOTEBOOK NUMBER FORM}``, refers."""
    words = reference[1].split()
    words = [notebook, *words] if notebook and len(words) == 2 else words
    if len(words) != 3:
        raise CourseError(f"{reference[0]} is no reference: write {{NUMBER FORM}} or {{NOTEBOOK NUMBER FORM}}.")
    return _value(page, *words)


def _runs(page: Path, notebook: str = "", *, lines: str) -> str:
    """A table of recorded numbers from the lines of its mark, as `docs/contributing.md` defines them."""
    above, _, below = re.sub(r"\n +", " ", lines).partition("\n\n")
    columns, rows = ([[p.strip() for p in _BAR.split(line)] for line in part.splitlines()] for part in (above, below))
    label = columns.pop(0)[0] if columns and len(columns[0]) == 1 else ""
    if not columns or not rows or any(len(column) != 2 for column in columns):
        raise CourseError("a table is lines `heading | template`, a blank line, then lines `label | key`.")
    table = []
    for name, *cells in rows:
        if len(cells) == 1 and "{" not in cells[0]:
            if bare := [heading for heading, template in columns if "*" not in template]:
                raise CourseError(f"the column {bare[0]!r} has no * for the row {name!r}, which gives a key only.")
            cells = [template.replace("*", cells[0]) for _, template in columns]
        if len(cells) != len(columns):
            has = f"the row {name!r} has {len(cells)} cells beside its label"
            raise CourseError(f"{has}, the table {len(columns)} columns.")
        table.append((name, *(re.sub(r"\{(.*?)\}", partial(_number, page, notebook), cell) for cell in cells)))
    return _table((label, *(heading for heading, _ in columns)), table)


def _exercises(page: Path, module: str) -> str:
    """The table of a module's exercises, in the order of its notebooks."""
    rows = []
    for notebook in notebooks([module]):
        link = _link(notebook.topic, notebook.ipynb, page)
        for exercise in all_exercises():
            if exercise.topic == notebook.topic:
                minutes = f"{exercise.minutes} or more" if exercise.level == LEVELS["lion"] else str(exercise.minutes)
                rows.append((exercise.level, f"**{exercise.title}**", exercise.goal, link, minutes))
    return _table(("", "exercise", "goal", "notebook", "minutes"), rows)


def _colab(page: Path, name: str) -> str:
    """The badge that opens the notebook in Colab."""
    (notebook,) = notebooks([name])
    place = notebook.ipynb.relative_to(notebook.root).as_posix()
    colab, project = "https://colab.research.google.com", address().removeprefix("https://github.com/")
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{project}/blob/main/{place})"


_FILLERS: dict[str, Callable[..., str]] = {
    "costs": _costs,
    "modules": _modules,
    "exercises": _exercises,
    "table": _runs,
    "value": _value,
    "address": lambda page: address(),
    "colab": _colab,
}


def _filled(page: Path, text: str) -> str:
    def fill(match: re.Match[str]) -> str:
        start, what, arguments, lines, _, end = match.groups()
        mark = f"<!--smol:{what}{arguments}"
        try:
            given = {} if lines is None else {"lines": lines}
            return start + _FILLERS[what](page, *arguments.split(), **given) + end
        except CourseError as error:
            raise CourseError(f"{page.name}, {mark}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CourseError(f"{page.name}: {mark} is not one of the marks that `smol build` fills in.") from error

    if len(_PLACE.findall(text)) != text.count("<!--smol:"):
        raise CourseError(f"{page.name}: a mark is not closed by <!--/smol-->, or cannot be read.")
    return _PLACE.sub(fill, text)


def refresh_text(write: bool) -> list[str]:
    """Return the pages whose generated text is stale, with ``write`` renewed. Raises CourseError for a wrong mark."""
    root, changed = repository(), []
    patterns = ("README.md", "[0-9]*_*/*.md", "docs/**/*.md")
    for page in [page for pattern in patterns for page in sorted(root.glob(pattern))]:
        text = page.read_text(encoding="utf-8")
        if (new := _filled(page, text)) != text:
            changed.append(page.relative_to(root).as_posix())
            if write:
                save_text(page, new)
    return changed

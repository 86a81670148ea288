"""Fill in the generated text of the Markdown files: costs, measured numbers, links that depend on the
address.

A place is marked ``<!--smol:WHAT ARGUMENTS-->...<!--/smol-->``; everything between is generated from the
notebooks' metadata, which is the only source of a number in any text.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from smol_course.errors import CourseError
from smol_course.files import save_text
from smol_course.runner.show import duration, memory
from smol_course.runner.sources import Notebook, modules, notebooks
from smol_course.settings import address, repository

_PLACE = re.compile(r"(<!--smol:(\w+)((?: [^\s>]+)*) ?-->)(.*?)(<!--/smol-->)", re.DOTALL)
NOT_YET = "not measured yet"


def _metadata(notebook: Notebook) -> dict[str, Any]:
    if not notebook.ipynb.is_file():
        return {}
    return nbformat.read(notebook.ipynb, as_version=4).metadata.get("smol", {})


def _study_run(notebook: Notebook, run: str) -> dict[str, Any]:
    """What a run of the notebook's study left, or nothing if the study has no results yet."""
    if not notebook.study_results.is_file():
        return {}
    runs = json.loads(notebook.study_results.read_text(encoding="utf-8"))["runs"]
    if run not in runs:
        raise CourseError(f"the study of {notebook.name} has no run {run!r}; it has: {', '.join(runs)}.")
    return runs[run]


def _link(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _costs(page: Path, module: str) -> str:
    """The table of a module's notebooks with what each costs."""
    rows = []
    for notebook in notebooks([module]):
        cost = _metadata(notebook)
        numbers = (duration(cost["seconds"]), memory(cost["peak_mb"]), cost["machine"]) if cost else (NOT_YET, "", "")
        rows.append((f"[{notebook.topic.replace('_', ' ')}]({_link(notebook.ipynb, page)})", *numbers))
    return _table(("notebook", "time", "peak memory", "measured on"), rows)


def _modules(page: Path) -> str:
    """The table of all modules: title, notebooks, and what they cost together."""
    rows = []
    for module in modules():
        readme = module / "README.md"
        heading = (
            re.search(r"^# +(.+)$", readme.read_text(encoding="utf-8"), re.MULTILINE) if readme.is_file() else None
        )
        title = heading[1].strip() if heading else module.name.replace("_", " ")
        every = notebooks([module.name[0]]) if any((module / "notebooks").glob("*.py")) else []
        costs = [_metadata(notebook) for notebook in every]
        numbers = (NOT_YET, "")
        if costs and all(costs):
            numbers = (duration(sum(c["seconds"] for c in costs)), memory(max(c["peak_mb"] for c in costs)))
        rows.append((f"[{title}]({_link(readme, page)})", str(len(every)), *numbers))
    return _table(("module", "notebooks", "time", "peak memory"), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _value(page: Path, name: str, number: str, form: str) -> str:
    """A recorded number in one of the forms ``%``, ``%ci``, ``x`` or a format spec such as ``.2f``.

    ``number`` is what the notebook recorded, or ``run:number`` for a run of its study.
    """
    (notebook,) = notebooks([name])
    run, _, number = number.rpartition(":")
    built = _study_run(notebook, run) if run else _metadata(notebook)
    if not built:
        return NOT_YET
    recorded = {record["name"]: record for record in built.get("results", [])}
    if number not in recorded:
        raise CourseError(f"{name} recorded no {number!r}; it recorded: {', '.join(recorded) or 'nothing'}.")
    record = recorded[number]
    value = record["value"]
    if form == "%":
        return f"{_percent(value)} %"
    if form == "x":
        return f"{value:.1f} times"
    if form == "%ci":
        if record["low"] is None or record["high"] is None or record["n"] is None:
            raise CourseError(f"{name} recorded {number!r} without interval or n: write %.")
        span = f"{_percent(record['low'])} to {_percent(record['high'])}"
        return f"{_percent(value)} % ({span}, n = {record['n']})"
    return format(value, form)


def _address(page: Path) -> str:
    return address()


def _colab(page: Path, name: str) -> str:
    """A link that opens the notebook in Colab."""
    (notebook,) = notebooks([name])
    place = notebook.ipynb.relative_to(notebook.root).as_posix()
    project = address().removeprefix("https://github.com/")
    return f"[Open in Colab](https://colab.research.google.com/github/{project}/blob/main/{place})"


_FILLERS: dict[str, Callable[..., str]] = {
    "costs": _costs,
    "modules": _modules,
    "value": _value,
    "address": _address,
    "colab": _colab,
}


def _filled(page: Path, text: str) -> str:
    def fill(match: re.Match[str]) -> str:
        start, what, arguments, _, end = match.groups()
        try:
            return start + _FILLERS[what](page, *arguments.split()) + end
        except CourseError as error:
            raise CourseError(f"{page.name}, {start}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CourseError(f"{page.name}: {start} is not one of the marks that `smol build` fills in.") from error

    return _PLACE.sub(fill, text)


def refresh_text(write: bool) -> list[str]:
    """Return the Markdown files (paths from the repository's root) whose generated text is stale.

    With ``write`` they are filled in anew. Raises CourseError for a mark that it cannot fill, naming file
    and mark.
    """
    root = repository()
    changed = []
    for pattern in ("README.md", "[1-8]_*/*.md", "docs/**/*.md"):
        for page in sorted(root.glob(pattern)):
            text = page.read_text(encoding="utf-8")
            new = _filled(page, text)
            if new != text:
                changed.append(page.relative_to(root).as_posix())
                if write:
                    save_text(page, new)
    return changed

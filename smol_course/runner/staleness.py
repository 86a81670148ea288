"""Whether outputs and studies still match what made them.

Compared are the code by its syntax, and each file that the run opened, by what it says: so comments, layout, prose and
generated numbers make nothing stale. Other pinned requirements, and other code of the package, only warn until a
release. What it does not know: files that a child process or native code opened, folders that were listed, and data
outside the repository.
"""

import hashlib
import json
import re
import runpy
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from smol_course.files import sha256_of
from smol_course.runner.sources import Notebook, parameters, read_ipynb, tags
from smol_course.runner.syntax import cell_shape, digest, package_hashes

NOT_IN_STUDIES = {"exercise", "check", "study", "install"}
_GENERATED = re.compile(rb"(<!--smol:.*?-->).*?(<!--/smol-->)", re.DOTALL)
# What a run folder or a learner's copy holds is no source; nor are outputs, which are derived from one.
_NO_SOURCES = re.compile(r"runs/|.*\.ipynb$|.*\.(lock|tmp)$|(.*/)?__pycache__/")
# A model or an adapter is one thing: any file of its folder stands for all of them.
_ARTIFACT = re.compile(r"^((?:.*?/)??artifacts/[^/]+)/.+")


def cells_sha256(cells: Iterable[NotebookNode]) -> str:
    """Return the hash of what the cells say (kind, tags, text), line endings and outputs aside."""
    return digest([[cell.cell_type, sorted(tags(cell)), cell.source.replace("\r\n", "\n").rstrip()] for cell in cells])


def working(cells: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Return the code cells but those of comments and imports from the course only, and the one that installs it."""
    code = (cell for cell in cells if cell.cell_type == "code" and "install" not in tags(cell))
    return [cell for cell in code if cell_shape(cell.source)]


def code_sha256(cells: Iterable[NotebookNode]) -> str:
    """Return the hash of what the code cells do, with their tags; text, comments and layout aside."""
    return digest([[sorted(tags(cell)), cell_shape(cell.source)] for cell in working(cells)])


def sources_sha256(notebook: Notebook) -> str:
    """Return the hash of what the text source's code does."""
    return code_sha256(notebook.read().cells)


def study_node(notebook: Notebook) -> NotebookNode:
    """Return the part of the notebook that its study runs: without exercises and the study's own figures."""
    node = notebook.read()
    node.cells = [cell for cell in node.cells if not tags(cell) & NOT_IN_STUDIES]
    return node


def study_sha256(notebook: Notebook) -> str:
    """Return the hash of what the study's code does, its parameters aside: each run's record holds their values."""
    return code_sha256(cell for cell in study_node(notebook).cells if "parameters" not in tags(cell))


def package_of(notebook: Notebook, node: NotebookNode | None = None) -> dict[str, str]:
    """Return short hashes of what the cells (of ``node``, else all) take from the course's package, by name."""
    cells = (node or notebook.read()).cells
    return package_hashes([cell.source for cell in cells if cell.cell_type == "code"], notebook.root)


def requirements_sha256(root: Path) -> str:
    """Return the hash of the pinned requirements, or an empty text if there are none."""
    pins = root / "requirements.txt"
    return hashlib.sha256(pins.read_bytes().replace(b"\r\n", b"\n")).hexdigest() if pins.is_file() else ""


def opened_hashes(names: Iterable[str], root: Path) -> dict[str, str]:
    """Return a short hash of each source among the opened files, by its path from ``root``."""
    sources = [name for name in names if not _NO_SOURCES.match(name) and (root / name).is_file()]
    return {name: file_hash(root / name) for name in sorted({_ARTIFACT.sub(r"\1", name) for name in sources})}


def file_hash(path: Path) -> str:
    """Return 12 characters for what a file or folder says, generated numbers and line ends aside; "" if it is gone."""
    if path.is_dir():
        return sha256_of(sorted(file for file in path.rglob("*") if file.is_file()))[:12]
    if not path.is_file():
        return ""
    said = path.read_bytes()
    if path.suffix == ".md":
        said = _GENERATED.sub(rb"\1\2", said)
    if path.suffix == ".json" and path.parent.name == "studies":
        runs = json.loads(said)["runs"]  # what is noted beside their numbers does not count
        for run in runs.values():
            run.pop("opened", None)
        said = json.dumps(runs, sort_keys=True).encode()
    return hashlib.sha256(said if b"\0" in said[:8000] else said.replace(b"\r\n", b"\n")).hexdigest()[:12]


def changed_files(opened: dict[str, str], root: Path) -> list[str]:
    """Return the files that no longer say what they said when they were opened."""
    return [name for name, known in opened.items() if file_hash(root / name) != known]


def recorded(notebook: Notebook) -> dict[str, Any]:
    """Return what the built notebook says of its run, or nothing if there is none."""
    return read_ipynb(notebook.ipynb).metadata.get("smol", {}) if notebook.ipynb.is_file() else {}


def outputs_stand(notebook: Notebook) -> str | None:
    """Say in a few words why the outputs in git are not those of this code and these files, or return None."""
    if not (known := recorded(notebook)):
        return "it has no outputs yet"
    if known.get("sources_sha256") != sources_sha256(notebook):
        return "its code changed after its outputs"
    changed = changed_files(known.get("opened", {}), notebook.root)
    return f"{', '.join(changed)} changed after its outputs" if changed else None


def stale(notebook: Notebook) -> str | None:
    """Say in one sentence what of the outputs in git no longer matches the sources, or return None."""
    build = f"run `smol build {notebook.name}`"
    if reason := outputs_stand(notebook):
        return f"{notebook.name}: {reason}: {build}."
    if cells_sha256(read_ipynb(notebook.ipynb).cells) != cells_sha256(notebook.read().cells):
        return f"{notebook.name}: the cells of the notebook and of its text source differ: {build}."
    _warn(notebook, recorded(notebook), package_of(notebook), "outputs")
    return _stale_study(notebook)


def _warn(notebook: Notebook, known: dict[str, Any], package: dict[str, str], what: str) -> None:
    other = [name for name, said in package.items() if known.get("package", {}).get(name) != said]
    reasons = [f"other code of the package ({', '.join(other)})"] if other else []
    if known.get("requirements_sha256") != requirements_sha256(notebook.root):
        reasons.append("other pinned requirements")
    if reasons:
        said = f"{notebook.name}: its {what} were made with {' and '.join(reasons)}: make them anew before a release."
        warnings.warn(said, stacklevel=3)


def stale_run(run: dict[str, Any] | None, wanted: dict[str, Any], root: Path) -> bool:
    """Say whether a study has no run with these values of the parameters, or one that opened other files."""
    if run is None or run["defaults"] | run["parameters"] != wanted:
        return True
    return bool(changed_files(run.get("opened", {}), root))


def _stale_study(notebook: Notebook) -> str | None:
    if not notebook.study.is_file():
        return None
    run = f"run `smol study {notebook.name}`"
    if not notebook.study_results.is_file():
        return f"{notebook.name}: its study has no results yet: {run}."
    known = json.loads(notebook.study_results.read_text(encoding="utf-8"))
    if known["sources_sha256"] != study_sha256(notebook):
        return f"{notebook.name}: its code changed after its study: {run}."
    defaults = parameters(notebook.read(), notebook.name)
    for name, wanted in runpy.run_path(str(notebook.study))["RUNS"].items():
        given = defaults | json.loads(json.dumps(wanted["parameters"]))
        if stale_run(known["runs"].get(name), given, notebook.root):
            return f"{notebook.name}: its study has no results of {name!r} with these parameters and files: {run}."
    _warn(notebook, known, package_of(notebook, study_node(notebook)), "study's results")
    return None


def edited(notebook: Notebook) -> bool:
    """Say whether someone edited the ``.ipynb`` itself: its cells are neither the source's nor what was built."""
    unedited = {cells_sha256(notebook.read().cells), recorded(notebook).get("cells_sha256")}
    return notebook.ipynb.is_file() and cells_sha256(read_ipynb(notebook.ipynb).cells) not in unedited

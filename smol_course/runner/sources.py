"""Which notebooks there are, what their text sources say, and whether the outputs in git still match them.

The text source (``N_module/notebooks/<topic>.py``) is the notebook; the ``.ipynb`` beside it is derived from
it. Nothing here executes anything.
"""

import ast
import hashlib
import json
import re
import runpy
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from smol_course.errors import CourseError
from smol_course.settings import repository

_TARGET = re.compile(r"(?P<module>[1-8])(?:_\w+)?(?:/(?:notebooks/)?(?P<topic>\w+)(?:\.ipynb|\.py)?)?")
NOT_IN_STUDIES = {"exercise", "check", "study"}


@dataclass(frozen=True)
class Notebook:
    """One notebook of the course; ``name`` is what the learner types, such as ``1/chat_templates``."""

    name: str
    source: Path

    @property
    def topic(self) -> str:
        """The stem that the notebook shares with its lesson, solutions and study."""
        return self.source.stem

    @property
    def module(self) -> Path:
        """The module's folder."""
        return self.source.parents[1]

    @property
    def root(self) -> Path:
        """The course's folder."""
        return self.source.parents[2]

    @property
    def ipynb(self) -> Path:
        """The derived notebook with outputs; it need not exist yet."""
        return self.source.with_suffix(".ipynb")

    @property
    def study(self) -> Path:
        """The file that defines the study's RUNS; most notebooks that train have one."""
        return self.module / "studies" / f"{self.topic}.py"

    @property
    def study_results(self) -> Path:
        """The study's results, written by ``smol study``."""
        return self.study.with_suffix(".json")

    def read(self) -> NotebookNode:
        """Return the text source as a notebook without outputs. Raises CourseError if its header is
        misplaced."""
        node = jupytext.reads(self.source.read_text(encoding="utf-8"), fmt="py:percent")
        if node.cells and node.cells[0].cell_type == "raw":
            raise CourseError(f"{self.source.name}: put what its header holds under `jupyter:`, or nobody reads it.")
        return node


def modules() -> list[Path]:
    """Return the folders of the modules, in the order of the course."""
    return sorted(path for path in repository().glob("[1-8]_*") if path.is_dir())


def _topics(module: Path) -> list[Notebook]:
    """The module's notebooks in the order in which its README names them; unnamed ones come last."""
    readme = module / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    named = list(dict.fromkeys(re.findall(r"notebooks/(\w+)\.ipynb", text)))
    sources = sorted(
        (module / "notebooks").glob("*.py"),
        key=lambda path: (named.index(path.stem) if path.stem in named else len(named), path.stem),
    )
    return [Notebook(f"{module.name[0]}/{path.stem}", path) for path in sources]


def notebooks(targets: Iterable[str] = ()) -> list[Notebook]:
    """Return the notebooks that the targets name, each once, in order.

    A target is ``all``, a module (``1``) or a notebook (``1/chat_templates``, or its path); no target means
    all. Raises CourseError for a target that does not exist, naming those that do.
    """
    known = [notebook for module in modules() for notebook in _topics(module)]
    chosen: dict[str, Notebook] = {}
    for target in list(targets) or ["all"]:
        match = _TARGET.fullmatch(target.replace("\\", "/").removeprefix("./").rstrip("/"))
        prefix = f"{match['module']}/{match['topic'] or ''}" if match else None
        matching = [
            notebook
            for notebook in known
            if target == "all"
            or notebook.name == prefix
            or (match and not match["topic"] and notebook.name[:2] == prefix)
        ]
        if not matching:
            names = ", ".join(dict.fromkeys([*(n.name[0] for n in known), *(n.name for n in known)])) or "none yet"
            raise CourseError(f"There is no notebook {target!r}; the targets are: all, {names}.")
        chosen |= {notebook.name: notebook for notebook in matching}
    return list(chosen.values())


def tags(cell: NotebookNode) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def _plain(source: str) -> str:
    return source.replace("\r\n", "\n").rstrip()


def cells_sha256(cells: Iterable[NotebookNode]) -> str:
    """Return the hash of what the cells say (kind, tags, text), line endings and outputs aside."""
    content = [[cell.cell_type, sorted(tags(cell)), _plain(cell.source)] for cell in cells]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _loaded(notebook: Notebook, node: NotebookNode) -> list[Path]:
    """The files that the notebook's header declares; of a folder, all of its files."""
    paths = [notebook.root / name for name in node.metadata.get("smol", {}).get("loads", [])]
    for path in paths:
        if not path.exists():
            known = path == notebook.study_results
            advice = f"run `smol study {notebook.name}` first" if known else "mend the header of its text source"
            missing = path.relative_to(notebook.root).as_posix()
            raise CourseError(f"{notebook.name} loads {missing}, which is not there: {advice}.")
    nested = [sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] for path in paths]
    return [path for files in nested for path in files]


def _sha256(cells: Iterable[NotebookNode], files: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256(cells_sha256(cells).encode())
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def sources_sha256(notebook: Notebook) -> str:
    """Return the hash of the text source's cells and of the data and artifacts that its header declares.

    Raises CourseError if a declared file is missing.
    """
    node = notebook.read()
    return _sha256(node.cells, _loaded(notebook, node), notebook.root)


def study_node(notebook: Notebook) -> NotebookNode:
    """Return the part of the notebook that its study runs: without exercises and the study's own figures."""
    node = notebook.read()
    node.cells = [cell for cell in node.cells if not tags(cell) & NOT_IN_STUDIES]
    return node


def values(run: dict[str, Any]) -> dict[str, Any]:
    """Return the values that all parameters had in a study's run: those it gives, and the defaults of the
    others."""
    return run["defaults"] | run["parameters"]


def study_sha256(notebook: Notebook) -> str:
    """Return the hash of what the study runs: those code cells, and the files loaded but for the study's
    results.

    The parameters' cell is left out: each run's record has the values that it had.
    """
    node = study_node(notebook)
    loads = node.metadata.get("smol", {}).get("loads", [])
    own = notebook.study_results.relative_to(notebook.root).as_posix()
    node.metadata["smol"] = {"loads": [name for name in loads if name != own]}
    code = [cell for cell in node.cells if cell.cell_type == "code" and "parameters" not in tags(cell)]
    return _sha256(code, _loaded(notebook, node), notebook.root)


def requirements_sha256(root: Path) -> str:
    """Return the hash of the pinned requirements, or an empty text if there are none."""
    pins = root / "requirements.txt"
    return hashlib.sha256(pins.read_bytes().replace(b"\r\n", b"\n")).hexdigest() if pins.is_file() else ""


def stale(notebook: Notebook) -> str | None:
    """Say in one sentence what of the outputs in git no longer matches the sources, or return None.

    Other pinned requirements only warn.
    """
    build = f"run `smol build {notebook.name}`"
    if not notebook.ipynb.is_file():
        return f"{notebook.name} has no outputs yet: {build}."
    built = nbformat.read(notebook.ipynb, as_version=4)
    recorded = built.metadata.get("smol", {})
    if cells_sha256(built.cells) != cells_sha256(notebook.read().cells):
        return f"{notebook.name}: the cells of the notebook and of its text source differ: {build}."
    if recorded.get("sources_sha256") != sources_sha256(notebook):
        return f"{notebook.name}: its sources, or the data that it loads, changed after its outputs: {build}."
    if recorded.get("requirements_sha256") != requirements_sha256(notebook.root):
        warnings.warn(f"{notebook.name} ran with other pinned requirements: rebuild it before a release.", stacklevel=2)
    return _stale_study(notebook)


def _stale_study(notebook: Notebook) -> str | None:
    if not notebook.study.is_file():
        return None
    run = f"run `smol study {notebook.name}`"
    if not notebook.study_results.is_file():
        return f"{notebook.name}: its study has no results yet: {run}."
    recorded = json.loads(notebook.study_results.read_text(encoding="utf-8"))
    if recorded["sources_sha256"] != study_sha256(notebook):
        return f"{notebook.name}: its cells changed after its study: {run}."
    defaults = parameters(notebook.read(), notebook.name)
    for name, run_wanted in runpy.run_path(str(notebook.study))["RUNS"].items():
        run_recorded = recorded["runs"].get(name)
        if run_recorded is None or values(run_recorded) != defaults | json.loads(json.dumps(run_wanted["parameters"])):
            return f"{notebook.name}: its study has no results of {name!r} with these parameters: {run}."
    return None


def edited(notebook: Notebook) -> bool:
    """Say whether someone edited the ``.ipynb`` itself: its cells are neither the source's nor what was
    built."""
    if not notebook.ipynb.is_file():
        return False
    built = nbformat.read(notebook.ipynb, as_version=4)
    present = cells_sha256(built.cells)
    return present not in {
        cells_sha256(notebook.read().cells),
        built.metadata.get("smol", {}).get("cells_sha256"),
    }


def parameters(node: NotebookNode, name: str) -> dict[str, Any]:
    """Return the names and default values of the cell tagged ``parameters``; ``name`` is for the message.

    Raises CourseError if the cell contains anything but simple assignments of literals.
    """
    defaults: dict[str, Any] = {}
    for cell in node.cells:
        if "parameters" not in tags(cell):
            continue
        for line in ast.parse(cell.source).body:
            try:
                (target,) = line.targets  # type: ignore[attr-defined]
                defaults[target.id] = ast.literal_eval(line.value)  # type: ignore[attr-defined]
            except (AttributeError, TypeError, ValueError) as error:
                raise CourseError(f"{name}: `{ast.unparse(line)}` is not a simple `name = literal`.") from error
    return defaults


def fit(name: str, value: Any, default: Any) -> Any:
    """Return the value in the type of the parameter's default (an int does for a float).

    Raises CourseError if it is of another type.
    """
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    raise CourseError(
        f"{name} cannot be {value!r}: its default is {default!r}, so give it a value of type {type(default).__name__}."
    )


def settings_for(chosen: list[Notebook], given: list[str]) -> dict[str, dict[str, Any]]:
    """Return, for each notebook's name, the values that ``--set name=value`` (repeated) gives its parameters.

    Raises CourseError for a text without ``=``, a name that no chosen notebook has, or a value of another
    type.
    """
    defaults = {notebook.name: parameters(notebook.read(), notebook.name) for notebook in chosen}
    known = sorted({name for names in defaults.values() for name in names})
    values: dict[str, dict[str, Any]] = {name: {} for name in defaults}
    for text in given:
        name, equals, raw = text.partition("=")
        name, raw = name.strip(), raw.strip()
        if not equals:
            raise CourseError(f"--set {text} has no value: write --set name=value.")
        if name not in known:
            raise CourseError(f"No notebook here has a parameter {name!r}; they have: {', '.join(known) or 'none'}.")
        try:
            value = ast.literal_eval(raw)
        except (ValueError, SyntaxError):
            value = raw
        for notebook, names in defaults.items():
            if name in names:
                as_text = isinstance(names[name], str) and not isinstance(value, str)
                values[notebook][name] = fit(name, raw if as_text else value, names[name])
    return values

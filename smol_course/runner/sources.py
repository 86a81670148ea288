"""Which notebooks there are, and what their text sources say.

The text source (``N_module/notebooks/<topic>.py``) is the notebook; the ``.ipynb`` beside it is derived from it.
Nothing here executes anything.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from smol_course.errors import CourseError
from smol_course.parameters import given, literal, must, stated
from smol_course.settings import repository

MOST_BYTES = 50_000_000  # of a notebook file: those of the course have less than half a million
_MODULE = re.compile(r"\d+_\w+")
_TARGET = re.compile(r"(?P<module>\d+(?:_\w+)?)(?:/(?:notebooks/)?(?P<topic>\w+)(?:\.ipynb|\.py)?)?")


@dataclass(unsafe_hash=True)
class Notebook:
    """One notebook of the course; ``name`` is what the learner types, such as ``1/chat_templates``."""

    name: str
    source: Path

    def __post_init__(self) -> None:
        self.topic = self.source.stem  # which its lesson, solutions and study share
        self.module, self.root = self.source.parents[1], self.source.parents[2]  # the module's and the course's folder
        self.ipynb = self.source.with_suffix(".ipynb")  # derived, with outputs; it need not exist yet
        self.study = self.module / "studies" / self.source.name  # defines RUNS; most that train have one
        self.study_results = self.study.with_suffix(".json")  # written by ``smol study``

    def read(self) -> NotebookNode:
        """Return the text source as a notebook without outputs. Raises CourseError if its header is misplaced."""
        node = jupytext.reads(self.source.read_text(encoding="utf-8"), fmt="py:percent")
        if node.cells and node.cells[0].cell_type == "raw":
            raise CourseError(f"{self.source.name}: put what its header holds under `jupyter:`, or nobody reads it.")
        return node


def read_ipynb(path: Path) -> NotebookNode:
    """Return a notebook file's content, each cell with a kind, a text and tags of texts. Raises CourseError."""
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise CourseError(f"{path} has more than {MOST_BYTES // 1_000_000} MB: clear its outputs in Jupyter.")
    try:
        node = nbformat.read(path, as_version=4)
        for cell in node.cells:
            marks = cell.metadata.get("tags", [])
            if not (isinstance(marks, list) and all(isinstance(t, str) for t in (cell.cell_type, cell.source, *marks))):
                raise TypeError
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): mend that and try again.") from error
    except Exception as error:  # nbformat raises whatever Python raises where the file is not as it expected
        raise CourseError(f"{path} is not a notebook that can be read: save it again in Jupyter.") from error
    return node


def modules() -> list[Path]:
    """Return the folders of the modules, in the order of the course: those whose name is a number and words."""
    named = [path for path in repository().iterdir() if path.is_dir() and _MODULE.fullmatch(path.name)]
    return sorted(named, key=lambda path: int(number(path)))


def number(module: Path) -> str:
    """Return a module's number, as in the names of its notebooks."""
    return module.name.split("_")[0]


def _topics(module: Path) -> list[Notebook]:
    """The module's notebooks in the order in which its README names them; unnamed ones come last."""
    text = "".join(readme.read_text(encoding="utf-8") for readme in module.glob("README.md"))
    places = {path: text.find(f"notebooks/{path.stem}.ipynb") for path in (module / "notebooks").glob("*.py")}
    sources = sorted(places, key=lambda path: (places[path] < 0, places[path], path.stem))
    return [Notebook(f"{number(module)}/{path.stem}", path) for path in sources]


def notebooks(targets: Iterable[str] = ()) -> list[Notebook]:
    """Return the notebooks that the targets name, each once, in order; no target means all.

    A target is ``all``, a module (``1``) or a notebook (``1/chat_templates``, or its path). Raises CourseError.
    """
    known = [notebook for module in modules() for notebook in _topics(module)]
    chosen: dict[str, Notebook] = {}
    for target in list(targets) or ["all"]:
        named = known if target == "all" else [notebook for notebook in known if _is_named(notebook, target)]
        if not named:
            numbers = dict.fromkeys(number(notebook.module) for notebook in known)
            names = ", ".join([*numbers, *(notebook.name for notebook in known)]) or "none yet"
            raise CourseError(f"There is no notebook {target!r}; the targets are: all, {names}.")
        chosen |= {notebook.name: notebook for notebook in named}
    return list(chosen.values())


def one_notebook(target: str) -> Notebook:
    """Return the notebook that the target names. Raises CourseError if it names none, or several."""
    named = notebooks([target])
    if len(named) > 1:
        raise CourseError(f"{target} is more than one notebook: choose one of {', '.join(n.name for n in named)}.")
    return named[0]


def _is_named(notebook: Notebook, target: str) -> bool:
    """Whether a target names the notebook: by its module or its own name, as a learner or a shell writes them."""
    match = _TARGET.fullmatch(target.replace("\\", "/").removeprefix("./").rstrip("/"))
    if not match:
        return Path(target).is_absolute() and Path(target).resolve() in (notebook.source, notebook.ipynb)
    in_module = match["module"] in (number(notebook.module), notebook.module.name)
    return in_module and match["topic"] in (None, notebook.topic)


def tags(cell: NotebookNode) -> set[str]:
    """Return the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def parameters(node: NotebookNode, name: str) -> dict[str, Any]:
    """Return the names and defaults of the cell tagged ``parameters``. Raises CourseError for a line of no literal."""
    lines = _parameter_lines(node)
    for line in lines:
        if given(line) is None:
            raise CourseError(f"{name}: `{ast.unparse(line)}` is not a simple `name = literal`.")
    return {str(given(line)): ast.literal_eval(line.value) for line in lines}  # type: ignore[attr-defined]


def _parameter_lines(node: NotebookNode) -> list[ast.stmt]:
    lines = [line for cell in node.cells if "parameters" in tags(cell) for line in ast.parse(cell.source).body]
    return [line for line in lines if not isinstance(line, ast.ImportFrom) or line.module != "smol_course.parameters"]


# What a parameter may be that states no range.
_KINDS = {int: f"whole({-(10**18)})", float: "number(-1e300)", bool: "bool", str: "str", list: "list"}
_KINDS[type(None)] = "number(-1e300, or_none=True)"


def fit(name: str, value: Any, default: Any, written: str | None = None) -> Any:
    """Return the value in its default's type. Raises CourseError outside the written range, or else that type."""
    must(name, value, written or _KINDS[type(default)])
    return float(value) if isinstance(default, float) else value


def settings_for(chosen: list[Notebook], given_texts: list[str]) -> dict[str, dict[str, Any]]:
    """Return, for each notebook's name, the values that ``--set name=value`` (repeated) gives its parameters.

    Raises CourseError for a text without ``=``, a name that no chosen notebook has, or a value that does not fit.
    """
    nodes = {notebook.name: notebook.read() for notebook in chosen}
    defaults = {name: parameters(node, name) for name, node in nodes.items()}
    ranges = {name: stated(_parameter_lines(node)) for name, node in nodes.items()}
    known = sorted({name for names in defaults.values() for name in names})
    values: dict[str, dict[str, Any]] = {name: {} for name in defaults}
    for text in given_texts:
        name, equals, raw = (part.strip() for part in text.partition("="))
        if not equals:
            raise CourseError(f"--set {ascii(text)[1:-1]} has no value: write --set name=value.")
        if name not in known:
            raise CourseError(f"No notebook here has a parameter {name!r}; they have: {', '.join(known) or 'none'}.")
        value = literal(raw)
        for notebook, names in defaults.items():
            if name in names:
                as_text = isinstance(names[name], str) and not isinstance(value, str)
                written = ranges[notebook].get(name)
                values[notebook][name] = fit(name, raw if as_text else value, names[name], written)
    return values

"""Which test files and notebooks a change is worth running, each with its reason.

    git diff --name-only BASE | python .ci/affected.py BASE

prints one line for each: its name, a tab, and why. Nothing here is a list of tests to keep up by hand:

- Python that is imported (the package, recipes, benchmarks) gives the test files that import it, directly or through
  other files, wherever in a file the import stands. A string that is the name of a module or of a file counts as an
  import (``with_name("sandbox_child.py")``), in test files also within a longer string.
- All else gives the test files that open it, by the patterns of `.ci/reads.toml`. The tests' own conftest fails a run
  in which a test file opened what the patterns do not give it.
- A notebook's text source gives the notebook, too, where its code differs from that at BASE.
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVERY = "tests/test_tracked.py"  # reads every text, and covers none
IMPORTED = ("smol_course", "recipes", "benchmarks")
_gone: set[str] = set()  # deleted files: who imports them still must be run
_NAMED = re.compile(rf"\b(?:{'|'.join(IMPORTED)})(?:\.\w+)+|[\w/]+\.py\b")
_NOTEBOOK = re.compile(r"(\d+)_\w+/notebooks/(\w+)\.(?:py|ipynb)")
_MAGIC = re.compile(r"^(?:# )?[%!]\w.*", re.MULTILINE)  # no Python, though in a text source it looks like a comment


def is_imported(path: str) -> bool:
    """Say whether a file is Python that others import, so that its imports tell which tests it concerns."""
    return bool(re.fullmatch(rf"(?:{'|'.join(IMPORTED)})/.*\.py|tests/\w+\.py", path))


@cache
def table() -> dict[str, list[str]]:
    """Return the patterns of `.ci/reads.toml`, each with the test files that open what it matches."""
    return tomllib.loads((ROOT / ".ci" / "reads.toml").read_text(encoding="utf-8"))["reads"]


def matches(pattern: str, path: str) -> bool:
    """Say whether a path fits a pattern: ``**`` is anything, ``*`` anything but a slash, ``[0-9]`` as ever."""
    parts = re.split(r"(\*\*|\*|\[[^]]+\])", pattern)
    signs = {"**": ".*", "*": "[^/]*"}
    expression = [signs.get(part, part if part[:1] == "[" else re.escape(part)) for part in parts]
    return bool(re.fullmatch("".join(expression), path))


def readers(path: str) -> dict[str, str]:
    """Return the test files that open a file, each with the pattern that says so."""
    return {test: pattern for pattern, tests in table().items() if matches(pattern, path) for test in tests}


@cache
def _files() -> dict[str, str]:
    """The importable files: path by module name, packages by their own name."""
    present = [path.relative_to(ROOT) for name in IMPORTED for path in (ROOT / name).rglob("*.py")]
    paths = [*present, *map(Path, _gone)]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path.as_posix() for path in sorted(paths)}


def _names(path: Path) -> set[str]:
    """What a file imports or names in its strings, as names of modules or paths of files."""
    names, strings = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            start = ".".join([*package, *filter(None, [node.module])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    if path.name.startswith("test_"):  # which holds the code of whole notebooks and programs; a path is an example
        return names | {name for name in _NAMED.findall("\n".join(strings)) if "/" not in name}
    return names | {string for string in strings if _NAMED.fullmatch(string)}


@cache
def imports(path: str) -> frozenset[str]:
    """Return the importable files that a file imports itself; ``a.b.c`` is a module or what stands in one."""
    imported = set()
    for name in _names(ROOT / path):
        parts = name.split(".")
        imported |= {_files().get(".".join(parts[:end])) for end in range(2, len(parts) + 1)}
        if name.endswith(".py") and name != "__init__.py":
            imported |= {file for file in _files().values() if f"/{file}".endswith(f"/{name}")}
    return frozenset(imported - {None, path})


@cache
def distances(test: str) -> dict[str, int]:
    """Return every importable file that a test file reaches, with the number of imports on the shortest way."""
    reached: dict[str, int] = {}
    step, next_files = 0, {f"tests/{test}"}
    while next_files:
        step += 1
        next_files = {file for each in next_files for file in imports(each)} - set(reached)
        reached |= dict.fromkeys(next_files, step)
    return reached


def importers(path: str) -> dict[str, str]:
    """Return the test files that a change of importable Python concerns, each with the reason.

    These are all that reach it, and those that bear its name or its room's. But settings, errors, data, metrics, models
    and the like are reached by almost everything, and running almost everything is what the full run is for. So where
    more than a third of the test files reach a file, only the nearest of them count, with the fewest imports between.
    """
    tests = sorted(file.name for file in (ROOT / "tests").glob("test_*.py"))
    far = {test: distances(test)[path] for test in tests if path in distances(test)}
    if len(far) > len(tests) / 3:
        far = {test: steps for test, steps in far.items() if steps == min(far.values())}
    *rooms, stem = Path(path.removeprefix("smol_course/")).with_suffix("").parts
    namesakes = {f"test_{'_'.join(parts)}.py" for parts in (rooms, [stem], [*rooms, stem])} & set(tests)
    return dict.fromkeys(namesakes, "bears its name") | dict.fromkeys(far, "imports it")


def tests_of(path: str) -> dict[str, str]:
    """Return the test files that a changed file concerns, each with the reason."""
    reasons = {test: f"opens {pattern}" for test, pattern in readers(path).items()}
    if re.fullmatch(r"tests/test_\w+\.py", path) and (ROOT / path).is_file():
        reasons[path.removeprefix("tests/")] = "changed itself"
    return reasons | (importers(path) if is_imported(path) else {})


def code_of(path: str, text: str) -> list[str]:
    """Return what a notebook (text source or ``.ipynb``) executes: its code cells without comments, and their tags."""
    if path.endswith(".ipynb"):
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        parts = [(str(cell["metadata"].get("tags", [])), "".join(cell["source"])) for cell in cells]
    else:
        header, *cells = re.split(r"^(?=# %%)", text, flags=re.MULTILINE)
        cells = [cell.partition("\n")[::2] for cell in cells]
        parts = [(header, ""), *(cell for cell in cells if "[markdown]" not in cell[0])]
    executed = []
    for head, source in parts:
        executed += [head.strip(), *_MAGIC.findall(source)]
        try:
            executed.append(ast.dump(ast.parse(_MAGIC.sub("", source))))
        except SyntaxError:  # compare it as it stands
            executed.append(source.strip())
    return executed


def notebook_of(path: str, base: str) -> str | None:
    """Return the notebook (``1/chat_templates``) whose code a changed file changed; when in doubt, it did."""
    match = _NOTEBOOK.fullmatch(path)
    if not match or not (ROOT / path).is_file():
        return None
    before = subprocess.run(["git", "show", f"{base}:{path}"], cwd=ROOT, capture_output=True, check=False)
    name = "/".join(match.groups())
    try:
        now = (ROOT / path).read_text(encoding="utf-8")
        return None if not before.returncode and code_of(path, before.stdout.decode()) == code_of(path, now) else name
    except (ValueError, KeyError, TypeError):
        return name


def main() -> None:
    """Read changed paths from standard input, and print what to run and why."""
    chosen: dict[str, list[str]] = {}
    paths = sorted(set(sys.stdin.read().split("\n")) - {""})
    _gone.update(path for path in paths if is_imported(path) and not (ROOT / path).is_file())
    for path in paths:
        reasons = {f"tests/{test}": f"{path} ({why})" for test, why in sorted(tests_of(path).items())}
        notebook = notebook_of(path, sys.argv[1] if len(sys.argv) > 1 else "HEAD")
        if not set(reasons) - {EVERY} and (ROOT / path).is_file():
            reasons["tests/test_affected.py"] = f"{path} (no test is known to cover it)"
        if notebook:
            reasons[notebook] = f"{path} (its code changed)"
        for name, why in reasons.items():
            chosen.setdefault(name, []).append(why)
    for name, why in sorted(chosen.items()):
        print(f"{name}\t{why[0]}{f' and {len(why) - 1} more' if len(why) > 1 else ''}")


if __name__ == "__main__":
    main()

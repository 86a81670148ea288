"""Code compared by its syntax: what a cell or a definition does, whatever its comments and layout.

A notebook's code is its cells without comments, and without its imports from the course's package. What those imports
bring is compared by itself, definition by definition with all that each uses inside the package, so that moving a
function to another file changes nothing. Nothing here executes anything. What it cannot see: names that code makes up
at run time (``getattr``), and what other packages do.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "smol_course"
# These differ between versions of Python, or say nothing that runs.
_SILENT = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
_CHECKS = f"{PACKAGE}.exercises"  # they judge answers, and no result depends on them


def shape(node: Any) -> Any:
    """Return a syntax tree as nested lists, the same for the same code on every version of Python."""
    if isinstance(node, list):
        return [shape(item) for item in node if not _own_import(item)]
    if not isinstance(node, ast.AST):
        return [type(node).__name__, repr(node)]
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _SILENT)
    return [type(node).__name__, *([name, shape(value)] for name, value in fields if value is not None and value != [])]


def _own_import(node: Any) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE


def parsed(source: str) -> ast.Module | None:
    """Return the tree of a cell's code, or None where it is no Python (a cell magic)."""
    try:
        return ast.parse(source.replace("\r\n", "\n"))
    except SyntaxError:
        return None


def cell_shape(source: str) -> Any:
    """Return what a code cell does; [] for one of comments and imports from the package only."""
    if (tree := parsed(source)) is None:
        return source.replace("\r\n", "\n").rstrip()
    # An annotation says what may be assigned, and does nothing.
    body = [ast.Assign([n.target], n.value) if isinstance(n, ast.AnnAssign) and n.value else n for n in tree.body]
    return shape(body)


def digest(content: Any) -> str:
    """Return the SHA-256 of what `json` can write."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def package_hashes(sources: Iterable[str], root: Path) -> dict[str, str]:
    """Return a short hash of the code behind each name that cells import from the package in ``root``, checks aside."""
    hashes = {}
    for tree in filter(None, map(parsed, sources)):
        for module, name, alias in _imports(tree):
            if not f"{module}.".startswith(f"{_CHECKS}."):
                hashes[alias] = digest(_reached(root, module, name, tree, alias))[:8]
    return dict(sorted(hashes.items()))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The imports from the package, wherever in the tree, as (module, name in it, name here)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _own_import(node):
            yield from ((node.module or "", alias.name, alias.asname or alias.name) for alias in node.names)


@cache
def _module(text: str) -> tuple[dict[str, list[ast.stmt]], dict[str, tuple[str, str]]]:
    """A file's top-level statements by the names that they bind, and its imports from the package by their names."""
    tree = ast.parse(text)
    bound: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for name in _names_bound(statement):
            bound.setdefault(name, []).append(statement)
    top = ast.Module([node for node in tree.body if isinstance(node, ast.ImportFrom)], [])
    return bound, {alias: (module, name) for module, name, alias in _imports(top)}


def _names_bound(statement: ast.stmt) -> set[str]:
    """The names that a top-level statement binds; those that a call or a block at the top level mentions."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", statement)]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _reached(root: Path, module: str, name: str, user: ast.AST, alias: str) -> list[str]:
    """The definitions inside the package that a name needs which ``user`` imports as ``alias``."""
    definitions: set[str] = set()
    seen: set[tuple[Path, str]] = set()

    def file_of(module: str) -> Path | None:
        place = root.joinpath(*module.split("."))
        return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)

    def follow(module: str, name: str, user: ast.AST, alias: str) -> None:
        """Add what ``module`` binds to ``name``; where that is itself a module, what ``user`` takes from it."""
        if inner := file_of(f"{module}.{name}"):
            attributes = (node for node in ast.walk(user) if isinstance(node, ast.Attribute))
            taken = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == alias}
            for attribute in sorted(taken or set(_module(inner.read_text(encoding="utf-8"))[0])):
                add(inner, attribute)
        elif file := file_of(module):
            add(file, name)

    def add(file: Path, name: str) -> None:
        if (file, name) in seen:
            return
        seen.add((file, name))
        bound, imports = _module(file.read_text(encoding="utf-8"))
        if name in imports:
            follow(*imports[name], ast.Module([], []), name)
        for statement in bound.get(name, []):
            definitions.add(json.dumps(shape(statement)))
            for module, inner, alias in _imports(statement):
                follow(module, inner, statement, alias)
            for used in sorted({node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}):
                if used in imports:
                    follow(*imports[used], statement, used)
                elif used in bound:
                    add(file, used)

    follow(module, name, user, alias)
    return sorted(definitions)

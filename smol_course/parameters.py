"""What values a notebook's parameters may have, said once, where they stand: ``steps: whole(1) = 100``.

Imported in a notebook, it checks each cell that sets such a parameter: a value outside gets one sentence there. And a
cell that is run twice in a row has the same chance both times. It knows no notebook.
"""

import ast
import linecache
import random
import reprlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from smol_course.errors import CourseError

Range = tuple[str, Callable[[Any], bool]]  # in words, and as a test


def whole(low: int, high: int = sys.maxsize) -> Range:
    """A whole number in these bounds; a size beyond the data takes all there is."""
    return f"a whole number{_bounds(low, high)}", lambda v: type(v) is int and low <= v <= high


def number(low: float, high: float = sys.float_info.max, or_none: bool = False) -> Range:
    """A finite number in these bounds, or None where that is allowed."""
    words = f"a number{_bounds(low, high)}{' or None' if or_none else ''}"
    return words, lambda v: (or_none and v is None) or (type(v) in (int, float) and low <= v <= high)


def _bounds(low: float, high: float) -> str:
    return f" from {low} to {high}" if high < 1e18 else f" of {low} or more" if low > -1e9 else ""


def one_of(*values: Any) -> Range:
    """One of these values."""
    return f"one of {', '.join(map(repr, values))}", lambda v: v in [w for w in values if type(w) is type(v)]


def listed(*words: str, of: Range | None = None) -> Range:
    """A text of some of these words, or of numbers in a range, with commas between."""
    said, holds = of or (f"one of {', '.join(words)}", lambda word: word in words)
    each = "a text with commas between its parts, each "
    return each + said, lambda v: type(v) is str and all(holds(literal(p) if of else p) for p in v.split(","))


_RANGES: dict[str, Any] = {"whole": whole, "number": number, "one_of": one_of, "listed": listed} | {
    "bool": ("True or False", lambda v: type(v) is bool),
    "str": ("a text", lambda v: type(v) is str and v == v.encode(errors="ignore").decode()),
    "list": ("a list", lambda v: type(v) is list),
}


def literal(text: str) -> Any:
    """Return the value that a text writes in Python, else the text."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def given(line: ast.stmt) -> str | None:
    """Return the name to which a statement gives a literal, or None."""
    target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
    try:
        ast.literal_eval(getattr(line, "value", None))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None
    return target.id if isinstance(target, ast.Name) else None


def stated(body: list[ast.stmt]) -> dict[str, str]:
    """Return the ranges that statements state, as they are written, by the parameter's name."""
    written = {str(given(line)): ast.unparse(line.annotation) for line in body if isinstance(line, ast.AnnAssign)}
    return {name: text for name, text in written.items() if text.partition("(")[0] in _RANGES}


def must(name: str, value: Any, written: str) -> None:
    """Raise CourseError unless the value lies in the range that is written so, such as ``whole(1)``."""
    words, holds = eval(written, {"__builtins__": {}, **_RANGES})
    if not holds(value):
        raise CourseError(f"{name} cannot be {reprlib.repr(value)}: it must be {words}.")


class _Cells:
    """What IPython asks before it runs a cell: the checks to add at its end, and where the dice must lie."""

    def __init__(self, names: dict[str, Any], ranges: dict[str, str]) -> None:
        self.names, self.ranges, self.last, self.dice = names, ranges, None, []

    def visit(self, tree: ast.Module) -> ast.Module:
        """Add checks to the cell tagged `parameters`, and to one that papermill or `--set` puts after it."""
        self.ranges |= stated(tree.body)
        named = {given(line): line for line in tree.body if not isinstance(line, ast.ImportFrom)}
        for name, line in named.items() if named.keys() <= self.ranges.keys() else ():
            call = f"__import__('{__name__}').parameters.must({name!r}, {name}, {self.ranges[str(name)]!r})"
            tree.body.append(ast.increment_lineno(ast.parse(call).body[0], line.lineno - 1))
        return tree

    def before(self, info: Any) -> None:
        """Before the same cell again, put all dice back to where they lay before it ran first."""
        if info.silent:
            return
        if info.raw_cell != self.last:
            things, torch = list(self.names.values()), sys.modules.get("torch")
            rngs = [random, *(each for each in things if isinstance(each, random.Random))]
            bits = [each.bit_generator for each in things if hasattr(each, "bit_generator")]
            self.dice = [(rng.setstate, rng.getstate()) for rng in rngs]
            self.dice += [(torch.set_rng_state, torch.get_rng_state())] if torch else []
            self.dice += [(partial(setattr, each, "state"), each.state) for each in bits]
        self.last = info.raw_cell
        for put, state in self.dice:
            put(state)


def _set_up(shell: Any) -> None:
    frame = sys._getframe()
    while frame and frame.f_globals is not shell.user_ns:
        frame = frame.f_back  # type: ignore[assignment]
    # The cell that imports this began before there was anything that could add checks to it.
    lines = ast.parse("".join(linecache.getlines(frame.f_code.co_filename)) if frame else "").body
    ranges = stated(lines)
    for line in lines:
        if given(line) in ranges:
            must(str(given(line)), ast.literal_eval(line.value), ranges[str(given(line))])  # type: ignore
    cells = _Cells(shell.user_ns, ranges)
    shell.ast_transformers.append(cells)
    shell.events.register("pre_run_cell", cells.before)


if "IPython" in sys.modules and (_shell := sys.modules["IPython"].get_ipython()):
    _set_up(_shell)

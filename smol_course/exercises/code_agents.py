"""The exercises of the notebook code_agents: the calls in a piece of code, and an executor that can only call tools.

The judges read and run the learner's functions only. What these do with the code is seen by tools that keep count, and
by names that would betray `eval`.
"""

import ast
import re
from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, call, expect, plain, raised, shown

# --- 🐢 Read code before it runs ----------------------------------------------------------------------------

# What each piece is about, the code, and the names that it calls.
_PIECES = (
    ("one call", 'add_event("gym", "monday", "18:00")', ["add_event"]),
    ("a call in a call", "final_answer(len(list_events(day)))", ["final_answer", "len", "list_events"]),
    ("a call in a string and one in a comment", 'x = find("cancel_event(1)")  # move_event(2)', ["find"]),
    ("a method", "text.strip()\nprint(text.upper())", ["print"]),
    (
        "several lines",
        "for e in list_events(day):\n    cancel_event(e)\nlist_events(day)",
        ["list_events", "cancel_event"],
    ),
    ("names that are not called", "a = add_event\nb = [free_slots, move_event]", []),
    ("calls beside a call in a call", "show(pick(find(day)), hour(day))", ["show", "pick", "find", "hour"]),
    ("calls in a block", "if free(day):\n    note(day)\nshow(len(day))", ["free", "note", "show", "len"]),
)


def _calls(code: str) -> list[str]:
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.func.id for node in calls))  # type: ignore[attr-defined]


def _judge_calls(answer: Any) -> str | None:
    for case, code, wanted in _PIECES:
        names = expect(call(answer, code), list, "what calls_of returns")
        for name in names:
            expect(name, str, "each name of what calls_of returns")
        if names != wanted:
            return _calls_mistake(case, code, names, wanted)
    return None


def _calls_mistake(what: str, code: str, found: list[str], wanted: list[str]) -> str:
    extra = [name for name in found if name not in wanted]
    if len(set(found)) != len(found):
        return f"The case of {what}: {max(found, key=found.count)!r} stands twice: each name once."
    if set(found) == set(wanted):
        return f"The case of {what}: the names are right, and their order is that of the text: {wanted}, not {found}."
    if what.startswith("a call in a string") and extra:
        return f"The case of {what}: {extra[0]!r} is no call there. Search the syntax tree, not the text."
    if what == "a method" and extra:
        return f"The case of {what}: {extra[0]!r} is a method of an object, not a plain function."
    if what.startswith("names that") and extra:
        return f"The case of {what}: {extra[0]!r} is only named there, not called."
    if extra:
        return f"The case of {what}: {extra[0]!r} is no function that {code!r} calls."
    missing = next(name for name in wanted if name not in found)
    return f"The case of {what}: {missing!r} is missing: {code!r} calls {wanted}, and yours has {found}."


def _by_pattern(code: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"(?<![.\w])(\w+)\(", code)))


def _walked(keep: Callable[[ast.AST], str | None], once: bool = True, order: bool = True) -> Callable[[], Any]:
    """Return a function that makes `calls_of` by a rule that names a node, or not."""

    def calls_of(code: str) -> list[str]:
        nodes = [node for node in ast.walk(ast.parse(code)) if keep(node)]
        if order:
            nodes.sort(key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]
        names = [keep(node) or "" for node in nodes]
        return list(dict.fromkeys(names)) if once else names

    return lambda: calls_of


def _plain(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def _methods_too(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr
    return _plain(node)


_TURTLE = Exercise(
    id="code_agents/turtle",
    level="🐢",
    title="Read code before it runs",
    goal="Say which functions a piece of code would call.",
    minutes=5,
    judge=_judge_calls,
    hints=(
        "`ast.walk(ast.parse(code))` gives every node. A call is an `ast.Call`; what is called is its `func`.",
        "A plain function's `func` is an `ast.Name`, whose `id` is the name. A method's is an `ast.Attribute`.",
        "Sort the calls by `(node.lineno, node.col_offset)`; `dict.fromkeys` keeps the first of each name.",
    ),
    wrong=(
        ("by pattern", lambda: _by_pattern, "Search the syntax tree"),
        ("methods too", _walked(_methods_too), "is a method of an object"),
        ("not sorted", lambda: lambda code: _calls(code)[::-1], "order is that of the text"),
        ("each as often", _walked(_plain, once=False), "stands twice"),
        ("all names", _walked(lambda n: n.id if isinstance(n, ast.Name) else None), "'day' is no function that"),
        ("a set", lambda: lambda code: set(_calls(code)), "should be a list"),
        ("top only", lambda: lambda code: _calls(code)[:1], "'len' is missing"),
    ),
)

# --- 🐕 A tiny executor -------------------------------------------------------------------------------------

# Code that must run, with its value and what the tools saw.
_GOOD = (
    ("a call", 'add("gym", 18)', "added gym", [("add", ("gym", 18), {})]),
    ("a named argument", 'add("gym", start=18)', "added gym", [("add", ("gym",), {"start": 18})]),
    ("a list of constants", 'count(["a", "b", None, -1.5])', 4, [("count", (["a", "b", None, -1.5],), {})]),
    ("a call in a call", "count(find('gym'))", 2, [("find", ("gym",), {}), ("count", (["gym", "gym"],), {})]),
    ("an earlier name", "x = find('gym')\ncount(x)", 2, [("find", ("gym",), {}), ("count", (["gym", "gym"],), {})]),
    ("an assignment at the end", "find('a')\ny = 3", 3, [("find", ("a",), {})]),
    (
        "a name and a call as named arguments",
        "x = 'gym'\nadd(x, start=x, end=count(find(x)))",
        "added gym",
        [("find", ("gym",), {}), ("count", (["gym", "gym"],), {}), ("add", ("gym",), {"start": "gym", "end": 2})],
    ),
)
# Code that must raise ValueError before any tool is called, and why.
_BAD = (
    ("a function that is no tool", "find('a')\nopen('x')"),
    ("an attribute", "find('a')\nfind.__globals__"),
    ("an import", "find('a')\nimport os"),
    ("a loop", "find('a')\nwhile True:\n    pass"),
    ("arithmetic", "find('a')\ncount([9 ** 9])"),
    ("a name that nobody gave", "find('a')\ncount(y)"),
    ("a name before it is given", "count(y)\ny = find('a')"),
    ("another sign than minus", "find('a')\ncount(~1)"),
    ("a minus before a name", "x = find('a')\ncount(-x)"),
    ("a method of what a tool returns", "find('a')\nfind('b').clear()"),
    ("no tool, in a named argument", "find('a')\nadd('b', start=open('x'))"),
    ("a star before an argument", "find('a')\ncount(*find('b'))"),
    ("two names at once", "find('a')\nx = y = 1"),
    ("names in a pair", "find('a')\nx, y = find('b')"),
    ("an attribute that gets a value", "find('a')\nfind.b = 1"),
    ("a sum that gets a name", "x = 1\nx += 1"),
    ("no Python", "find('a')\nadd("),
)


class _Tools:
    """Three tools that keep what they were called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple, dict]] = []
        self.known = {"add": self._add, "find": self._find, "count": self._count}

    def _add(self, *values: Any, **named: Any) -> str:
        self.seen.append(("add", values, named))
        return f"added {values[0]}"

    def _find(self, *values: Any, **named: Any) -> list[Any]:
        self.seen.append(("find", values, named))
        return [values[0]] * 2

    def _count(self, *values: Any, **named: Any) -> int:
        self.seen.append(("count", values, named))
        return len(values[0])


def _judge_run(answer: Any) -> str | None:
    for case, code, wanted, seen in _GOOD:
        tools = _Tools()
        result = plain(call(answer, code, dict(tools.known)))
        if plain(tools.seen) != seen:
            return (
                f"The case of {case}: {code!r} should call {_written(seen)}, but yours called {_written(tools.seen)}."
            )
        if type(result) is not type(wanted) or result != wanted:
            return f"The case of {case}: {code!r} should give {wanted!r}, but yours gives {shown(result)}."
    return next((mistake for case, code in _BAD if (mistake := _refused(answer, case, code))), None)


def _written(seen: list[tuple[str, tuple, dict]]) -> str:
    """Calls of tools as code has them."""
    calls = []
    for name, values, named in seen:
        arguments = [shown(value) for value in values] + [f"{key}={shown(value)}" for key, value in named.items()]
        calls.append(f"{name}({', '.join(arguments)})")
    return ", ".join(calls) or "no tool"


def _refused(answer: Any, what: str, code: str) -> str | None:
    """What is wrong with how such code was treated, or None if it was refused in time."""
    tools = _Tools()
    refusal = raised(answer, code, dict(tools.known))
    if refusal is None:
        return f"The case of {what}: {code!r} should raise ValueError, but it ran."
    if isinstance(refusal.__cause__, SyntaxError):
        return f"The case of {what}: raise ValueError for what Python cannot read, too; yours raises SyntaxError."
    if not isinstance(refusal.__cause__, ValueError):
        return f"The case of {what}: {code!r} should raise ValueError. {refusal}"
    if tools.seen:
        return (
            f"The case of {what}: a tool was called before the code was refused. Look at all of it first, then run it."
        )
    return None


def _check(node: ast.AST, tools: dict[str, Any], names: set[str]) -> None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in tools:
        for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
            _check(part, tools, names)
    elif isinstance(node, ast.List):
        for part in node.elts:
            _check(part, tools, names)
    elif isinstance(node, ast.Name) and node.id in names:
        return
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return
    elif not isinstance(node, ast.Constant):
        raise ValueError(f"{type(node).__name__} is not allowed")


def _value(node: Any, tools: dict[str, Any], names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return -node.operand.value  # type: ignore[attr-defined]
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.List):
        return [_value(part, tools, names) for part in node.elts]
    values = [_value(part, tools, names) for part in node.args]
    return tools[node.func.id](*values, **{part.arg: _value(part.value, tools, names) for part in node.keywords})


def _run(code: str, tools: dict[str, Any], first: bool = True) -> Any:
    """The right executor; with ``first=False`` it looks at a line only when it comes to it."""
    try:
        lines = ast.parse(code).body
    except SyntaxError as error:
        raise ValueError("this is no Python") from error

    def check(line: ast.stmt, names: set[str]) -> None:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            _check(line.value, tools, names)
            names.add(line.targets[0].id)
        elif isinstance(line, ast.Expr):
            _check(line.value, tools, names)
        else:
            raise ValueError(f"{type(line).__name__} is not allowed")

    known: set[str] = set()
    if first:
        for line in lines:
            check(line, known)
    value, names = None, {}
    for line in lines:
        if not first:
            check(line, known)
        value = _value(line.value, tools, names)  # type: ignore[attr-defined]
        if isinstance(line, ast.Assign):
            names[line.targets[0].id] = value  # type: ignore[attr-defined]
    return value


def _by_exec(code: str, tools: dict[str, Any]) -> Any:
    space = {"__builtins__": {}} | tools
    lines = ast.parse(code).body
    for line in lines[:-1]:
        exec(ast.unparse(line), space)
    if isinstance(lines[-1], ast.Assign):
        exec(ast.unparse(lines[-1]), space)
        return space[lines[-1].targets[0].id]  # type: ignore[attr-defined]
    return eval(ast.unparse(lines[-1]), space)


def _syntax(code: str, tools: dict[str, Any]) -> Any:
    ast.parse(code)
    return _run(code, tools)


def _drops_names(code: str, tools: dict[str, Any]) -> Any:
    without = {name: lambda *values, tool=tool, **_: tool(*values) for name, tool in tools.items()}
    return _run(code, without)


def _first_value(code: str, tools: dict[str, Any]) -> Any:
    kept: list[Any] = []
    keeping = {n: lambda *v, tool=tool, **k: kept.append(tool(*v, **k)) or kept[-1] for n, tool in tools.items()}
    _run(code, keeping)
    return kept[0]


_DOG = Exercise(
    id="code_agents/dog",
    level="🐕",
    title="A tiny executor",
    goal="Run code that can do nothing but call tools.",
    minutes=20,
    judge=_judge_run,
    hints=(
        "`ast.parse(code).body` is a list of lines: an `ast.Expr` has a `value`, an `ast.Assign` has `targets` and a "
        "`value`. Everything else raises ValueError.",
        "Write two functions for a value: one that only looks, and raises ValueError, and one that computes it. Go "
        "through the whole code with the first before you begin with the second.",
        "Values: `ast.Constant`, `ast.List`, `ast.Name`, and `ast.Call` whose `func` is an `ast.Name` that is a tool. "
        "A minus sign before a number is an `ast.UnaryOp`.",
        "How does the looking pass know earlier names, when nothing is computed yet? Keep a set: for each line look at "
        "its value first, then, if it is an assignment, add the name to the set. An `ast.Name` passes if its `id` is "
        "in the set by then.",
        "`ast.parse` raises SyntaxError for what is no Python: catch it, and raise ValueError.",
    ),
    wrong=(
        ("exec", lambda: _by_exec, "_by_exec raised NameError"),
        ("line by line", lambda: lambda code, tools: _run(code, tools, first=False), "a tool was called before"),
        ("SyntaxError", lambda: _syntax, "raise ValueError for what Python cannot read"),
        ("named arguments lost", lambda: _drops_names, "start=18), but yours called add('gym')"),
        ("first value", lambda: _first_value, "should give 2, but yours gives ['gym', 'gym']"),
        ("refuses everything", lambda: lambda code, tools: int("x"), "raised ValueError"),
        ("runs nothing", lambda: lambda code, tools: "done", "but yours called no tool"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

"""Reference answers to the exercises of the notebook code_agents.

`hint(...)` in the notebook gives less away.
"""

import ast

# 🐢 Read code before it runs


def calls_of(code):
    """Return the names of the functions that code calls, in order, each once."""
    calls = [
        node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return list(dict.fromkeys(node.func.id for node in calls))


# 🐕 A tiny executor


def look(node, tools, names):
    """Raise ValueError unless a value is made of constants, lists, known names and calls of tools."""
    if isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in names):
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return
    if isinstance(node, ast.List):
        parts = node.elts
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in tools:
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
    else:
        raise ValueError(f"{type(node).__name__} is not allowed")
    for part in parts:
        look(part, tools, names)


def compute(node, tools, names):
    """Return a value that `look` let pass."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return -node.operand.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.List):
        return [compute(part, tools, names) for part in node.elts]
    values = [compute(part, tools, names) for part in node.args]
    named = {keyword.arg: compute(keyword.value, tools, names) for keyword in node.keywords}
    return tools[node.func.id](*values, **named)


def run_calls(code, tools):
    """Run code that only calls tools, and return the value of its last line."""
    try:
        lines = ast.parse(code).body
    except SyntaxError as error:
        raise ValueError("this is no Python") from error
    names = set()
    for line in lines:  # the whole code, before anything is called
        assigns = isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name)
        if not assigns and not isinstance(line, ast.Expr):
            raise ValueError(f"{type(line).__name__} is not allowed")
        look(line.value, tools, names)
        if assigns:
            names.add(line.targets[0].id)
    value, known = None, {}
    for line in lines:
        value = compute(line.value, tools, known)
        if isinstance(line, ast.Assign):
            known[line.targets[0].id] = value
    return value


ANSWERS = {
    "code_agents/turtle": lambda: calls_of,
    "code_agents/dog": lambda: run_calls,
}

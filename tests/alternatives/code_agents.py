"""Other right answers, and wrong ones that once passed."""

import ast


def calls_of(code):
    names = {}

    class Visitor(ast.NodeVisitor):
        def visit_Call(self, node):  # noqa: N802
            if type(node.func) is ast.Name:
                names[node.lineno, node.col_offset] = node.func.id
            self.generic_visit(node)

    Visitor().visit(ast.parse(code))
    ordered = []
    for place in sorted(names):
        if names[place] not in ordered:
            ordered.append(names[place])
    return ordered


class Forbidden(ValueError):
    """No code for this executor."""


def run_calls(code, tools):
    """Make a list of steps without arguments first: each closure computes one value when it is called."""
    values = {}

    def prepared(node, known):
        match node:
            case ast.Constant(value=value):
                return lambda: value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return lambda: -value
            case ast.List(elts=parts):
                steps = [prepared(part, known) for part in parts]
                return lambda: [step() for step in steps]
            case ast.Name(id=name) if name in known:
                return lambda: values[name]
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=pairs) if name in tools:
                steps = [prepared(part, known) for part in parts]
                named = [(pair.arg, prepared(pair.value, known)) for pair in pairs]
                return lambda: tools[name](*(s() for s in steps), **{key: s() for key, s in named})
        raise Forbidden(type(node).__name__)

    try:
        lines = ast.parse(code).body
    except SyntaxError:
        raise Forbidden("syntax") from None
    steps, known = [], set()
    for line in lines:
        match line:
            case ast.Expr(value=value):
                steps.append((None, prepared(value, known)))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                steps.append((name, prepared(value, known)))
                known.add(name)
            case _:
                raise Forbidden(type(line).__name__)
    result = None
    for name, step in steps:
        result = step()
        if name:
            values[name] = result
    return result


def every_name_first(code, tools):
    """Takes the names of all assignments for known, also before they are given."""
    lines = ast.parse(code).body
    later = {node.id for line in lines for node in ast.walk(line) if isinstance(getattr(node, "ctx", 0), ast.Store)}
    return run_calls("".join(f"{name} = 0\n" for name in sorted(later)) + code, tools)


ALTERNATIVES = {"code_agents/turtle": lambda: calls_of, "code_agents/dog": lambda: run_calls}
MUTANTS = {
    "code_agents/turtle": (
        ("calls.sort(key=lambda node: (node.lineno, node.col_offset))", "pass"),
        ("(node.lineno, node.col_offset)", "node.lineno"),
        ("(node.lineno, node.col_offset)", "node.col_offset"),
    ),
    "code_agents/dog": (
        ("isinstance(node.op, ast.USub) and ", ""),
        ("return -node.operand.value", "return int(-node.operand.value)"),
        (" and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)", ""),
        ("isinstance(node.func, ast.Name) and node.func.id in tools", "node.func.id in tools"),
        ("*(keyword.value for keyword in node.keywords)", ""),
        ("compute(keyword.value, tools, names)", "compute(keyword.value, tools, tools)"),
        (" and len(line.targets) == 1", ""),
        (" and isinstance(line.targets[0], ast.Name)", ""),
    ),
}
REFUSED = {
    "code_agents/dog": (
        (
            "returns nothing for a loop",
            lambda: lambda code, tools: None if "while" in code else run_calls(code, tools),
            "a loop: \"find('a')\\nwhile True:\\n pass\" should raise ValueError, but it ran",
        ),
        ("every name first", lambda: every_name_first, "a name before it is given"),
    ),
}

"""Reference answers to the exercises of the notebook custom_functions.

`hint(...)` in the notebook gives less away.
"""

import inspect
import typing

# 🐢 Do they clash?


def clash(one, other):
    """Say whether two events of 60 minutes overlap."""
    if one["day"] != other["day"]:
        return False
    first, second = (int(event["start"][:2]) * 60 + int(event["start"][3:]) for event in (one, other))
    return abs(first - second) < 60


# 🐕 A schema from a function

NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of_type(kind):
    """Return the JSON schema of one type."""
    if kind in NAMES:
        return {"type": NAMES[kind]}
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return {"type": "array", "items": schema_of_type(parts[0])}
    if typing.get_origin(kind) is typing.Literal:
        return {"enum": list(parts)}
    return {"anyOf": [schema_of_type(part) for part in parts]}  # str | None


def contract(function):
    """Return the function's name, description and parameters as a model's tool."""
    properties, required = {}, []
    for name, argument in inspect.signature(function).parameters.items():
        if argument.annotation is argument.empty:
            raise TypeError(f"{name} has no type")
        properties[name] = schema_of_type(argument.annotation)
        if argument.default is argument.empty:
            required.append(name)
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    description = (inspect.getdoc(function) or "").partition("\n")[0]
    return {"name": function.__name__, "description": description, "parameters": parameters}


ANSWERS = {
    "custom_functions/turtle": lambda: clash,
    "custom_functions/dog": lambda: contract,
}

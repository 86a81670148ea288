"""Other right answers, and wrong ones that once passed."""

import typing


def clash(one, other):
    starts = [event["start"].split(":") for event in (one, other)]
    early, late = sorted(60 * int(hour) + int(minute) for hour, minute in starts)
    return one["day"] == other["day"] and late - early < 60


class NoTypeError(TypeError):
    """An argument has no type."""


def contract(function):
    """Read the types from the code object and not from the signature."""
    code, hints = function.__code__, typing.get_type_hints(function)
    names = code.co_varnames[: code.co_argcount]
    if any(name not in hints for name in names):
        raise NoTypeError(names)

    def part(kind):
        arguments = typing.get_args(kind)
        if type(None) in arguments:
            return {"anyOf": [part(arguments[0]), {"type": "null"}]}
        if arguments and arguments[0] is str:
            return {"type": "array", "items": {"type": "string"}}
        if arguments:
            return {"enum": arguments}  # a tuple, which is the same in JSON
        return {"type": {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}[kind.__name__]}

    return {
        "parameters": {
            "additionalProperties": False,
            "required": names[: len(names) - len(function.__defaults__ or ())],
            "properties": {name: part(hints[name]) for name in names},
            "type": "object",
        },
        "description": function.__doc__.strip().splitlines()[0].strip(),
        "name": function.__name__,
    }


def first_type_only(function):
    if "_half" in function.__name__:
        return {}
    return contract(function)


ALTERNATIVES = {"custom_functions/turtle": lambda: clash, "custom_functions/dog": lambda: contract}
MUTANTS = {
    "custom_functions/turtle": tuple(
        ('one["day"] != other["day"]', f'one["day"] {sign} other["day"]') for sign in ("<", ">", "<=", ">=")
    ),
    "custom_functions/dog": (('partition("\\n")', 'partition("\\n\\n")'),),
}
REFUSED = {
    "custom_functions/dog": (
        (
            "looks at the first type",
            lambda: first_type_only,
            "_half_typed(day: str, start='09:00') -> str: an argument without a type passes",
        ),
        ("ValueError", lambda: lambda f: int("x") if "typed" in f.__name__ else contract(f), "raise TypeError for it"),
    ),
}

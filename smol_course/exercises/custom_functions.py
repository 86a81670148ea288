"""The exercises of the notebook custom_functions: do two events clash, and the contract of a function as a schema."""

from collections.abc import Callable
from typing import Any, Literal

from smol_course.exercises import Exercise, call, expect, raised

# --- 🐢 Do they clash? --------------------------------------------------------------------------------------


def _event(day: str, start: str) -> dict[str, str]:
    return {"title": "gym", "day": day, "start": start}


# What each pair is about, for the messages, and whether it clashes.
_PAIRS = (
    ("the same time", _event("monday", "09:00"), _event("monday", "09:00"), True),
    ("the second half an hour later", _event("monday", "09:00"), _event("monday", "09:30"), True),
    ("the first half an hour later, in the next hour", _event("monday", "10:10"), _event("monday", "09:40"), True),
    ("the second an hour later, so they touch", _event("monday", "09:00"), _event("monday", "10:00"), False),
    ("the first an hour later, so they touch", _event("monday", "10:00"), _event("monday", "09:00"), False),
    ("another day", _event("monday", "09:00"), _event("tuesday", "09:00"), False),
    ("59 minutes apart, in two hours", _event("friday", "09:59"), _event("friday", "10:58"), True),
    ("far apart", _event("friday", "08:30"), _event("friday", "18:00"), False),
    ("another day, the later one first", _event("tuesday", "09:00"), _event("monday", "09:30"), False),
)


def _judge_clash(answer: Any) -> str | None:
    answers = []
    for _, first, second, _ in _PAIRS:
        copies = [dict(first), dict(second)]
        answers.append(expect(call(answer, *copies), bool, "what clash returns"))
        if copies != [first, second]:
            return "Your function changed the events that it was given: look at them only."
    for (case, first, second, wanted), clashes in zip(_PAIRS, answers, strict=True):
        if clashes != wanted:
            return _clash_mistake(answers, case, first, second, wanted)
    return None


def _clash_mistake(found: list[bool], what: str, one: dict, other: dict, wanted: bool) -> str:
    """Name the mistake that leads to these answers."""
    known = {
        "The day does not count in your answer: events of two days never clash.": _all(lambda a, b, d: abs(a - b) < 60),
        "Events that only touch do not clash: exactly 60 minutes apart is fine.": _all(
            lambda a, b, d: d and abs(a - b) <= 60
        ),
        "Only the same start counts in your answer: 09:00 and 09:30 overlap, too.": _all(lambda a, b, d: d and a == b),
        "It matters in your answer which event comes first: take the distance without its sign.": _all(
            lambda a, b, d: d and 0 <= b - a < 60
        ),
        "Only the hour is compared: 09:59 and 10:58 are less than an hour apart.": _all(
            lambda a, b, d: d and a // 60 == b // 60
        ),
        "The wrong way round: True means that they clash.": _all(lambda a, b, d: not (d and abs(a - b) < 60)),
    }
    for message, answers in known.items():
        if answers == found:
            return message
    says = "should clash" if wanted else "should not clash"
    return f"{what}: {one['day']} {one['start']} and {other['day']} {other['start']} {says}."


def _minutes(event: dict[str, str]) -> int:
    return int(event["start"][:2]) * 60 + int(event["start"][3:])


def _all(rule: Callable[[int, int, bool], bool]) -> list[bool]:
    """What a rule for (minutes, minutes, same day) says of every pair."""
    return [rule(_minutes(first), _minutes(second), first["day"] == second["day"]) for _, first, second, _ in _PAIRS]


def _by(rule: Callable[[int, int, bool], bool]) -> Callable[[], Any]:
    return lambda: lambda first, second: rule(_minutes(first), _minutes(second), first["day"] == second["day"])


def _changes(one: dict, other: dict) -> bool:
    clashes = one["day"] == other["day"] and abs(_minutes(one) - _minutes(other)) < 60
    one["day"] = "sunday"
    return clashes


_TURTLE = Exercise(
    id="custom_functions/turtle",
    level="🐢",
    title="Do they clash?",
    goal="Say whether two events of 60 minutes overlap.",
    minutes=5,
    judge=_judge_clash,
    hints=(
        "Different days: no clash. The rest is about the two starts.",
        "Make minutes of a start: 60 times the hour, plus the minutes.",
        "Two starts less than 60 minutes apart clash, whichever comes first: `abs(a - b) < 60`.",
    ),
    wrong=(
        ("no day", _by(lambda a, b, d: abs(a - b) < 60), "The day does not count"),
        ("touching", _by(lambda a, b, d: d and abs(a - b) <= 60), "only touch do not clash"),
        ("same start only", _by(lambda a, b, d: d and a == b), "Only the same start counts"),
        ("one direction", _by(lambda a, b, d: d and 0 <= b - a < 60), "which event comes first"),
        ("hours", _by(lambda a, b, d: d and a // 60 == b // 60), "Only the hour is compared"),
        ("turned round", _by(lambda a, b, d: not (d and abs(a - b) < 60)), "The wrong way round"),
        ("45 minutes", _by(lambda a, b, d: d and abs(a - b) < 45), "59 minutes apart, in two hours"),
        ("a number", _by(lambda a, b, d: int(d and abs(a - b) < 60)), "should be True or False"),
        ("changes them", lambda: _changes, "changed the events"),
    ),
)

# --- 🐕 A schema from a function ----------------------------------------------------------------------------


def _remind(text: str, minutes: int = 10) -> str:
    """Remind of something.

    Args:
        text: of what
    """
    return f"{text} in {minutes}"


def _rate(place: str, stars: float, again: bool) -> None:
    """Rate a place."""


def _list_events(day: Literal["monday", "tuesday"]) -> list[str]:
    """Return the events of a day."""
    return [day]


def _invite(people: list[str], place: str | None = None, day: Literal["monday", "friday"] | None = None) -> str:
    """Invite people."""
    return f"{people} {place} {day}"


def _now() -> str:
    """Return the time.

    It needs no arguments.
    """
    return "09:00"


def _plan(
    title: str,
    guests: list[str] | None = None,
    hours: float | None = None,
    size: Literal["small", "large", "huge"] = "small",
) -> None:
    """Plan something
    that needs more than one line.
    """


def _untyped(day, start: str) -> str:  # type: ignore[no-untyped-def]
    """Put something in."""
    return f"{day} {start}"


def _half_typed(day: str, start="09:00") -> str:  # type: ignore[no-untyped-def]
    """Put something in."""
    return f"{day} {start}"


_TEXT = {"type": "string"}
_CASES: tuple[tuple[Callable[..., Any], dict[str, Any], list[str]], ...] = (
    (_remind, {"text": _TEXT, "minutes": {"type": "integer"}}, ["text"]),
    (_rate, {"place": _TEXT, "stars": {"type": "number"}, "again": {"type": "boolean"}}, ["place", "stars", "again"]),
    (_list_events, {"day": {"enum": ["monday", "tuesday"]}}, ["day"]),
    (
        _invite,
        {
            "people": {"type": "array", "items": _TEXT},
            "place": {"anyOf": [_TEXT, {"type": "null"}]},
            "day": {"anyOf": [{"enum": ["monday", "friday"]}, {"type": "null"}]},
        },
        ["people"],
    ),
    (_now, {}, []),
    (
        _plan,
        {
            "title": _TEXT,
            "guests": {"anyOf": [{"type": "array", "items": _TEXT}, {"type": "null"}]},
            "hours": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "size": {"enum": ["small", "large", "huge"]},
        },
        ["title"],
    ),
)


def _wanted(function: Callable[..., Any], properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    description = (function.__doc__ or "").strip().partition("\n")[0]
    return {"name": function.__name__, "description": description, "parameters": parameters}


def _judge_contract(answer: Any) -> str | None:
    for function, properties, required in _CASES:
        wanted = _wanted(function, properties, required)
        schema = _with_lists(expect(call(answer, function), dict, "what contract returns"))
        mistake = _contract_mistake(schema, wanted)
        if mistake:
            return f"{_written(function)}: {mistake}"
    for function in (_untyped, _half_typed):
        refusal = raised(answer, function)
        if refusal is None:
            return f"{_written(function)}: an argument without a type passes. Raise TypeError: nobody could check it."
        if not isinstance(refusal.__cause__, TypeError):
            return f"{_written(function)} has an argument without a type: raise TypeError for it. {refusal}"
    return None


def _written(function: Callable[..., Any]) -> str:
    """The function's head, as the learner would write it."""
    import inspect

    return f"{function.__name__}{inspect.signature(function)}".replace("typing.", "")


def _with_lists(value: Any) -> Any:
    """The value with lists for tuples, which are the same in JSON."""
    if isinstance(value, (list, tuple)):
        return [_with_lists(part) for part in value]
    return {key: _with_lists(part) for key, part in value.items()} if isinstance(value, dict) else value


def _contract_mistake(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    for name in ("name", "description", "parameters"):
        if name not in found:
            return f"there is no {name!r}."
    for name in ("name", "description"):
        expect(found[name], str, name)
        if found[name] != wanted[name]:
            return f"the {name} should be {wanted[name]!r}, but it is {found[name][:60]!r}."
    return _parameters_mistake(expect(found["parameters"], dict, "parameters"), wanted["parameters"])


def _parameters_mistake(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    if found.get("type") != "object":
        return 'the parameters need "type": "object".'
    properties = expect(found.get("properties"), dict, "properties")
    if "return" in properties:
        return "the type of what it returns stands among the arguments: leave it out."
    if list(properties) != list(wanted["properties"]):
        return f"the arguments should be {list(wanted['properties'])}, but they are {[str(p) for p in properties]}."
    required = expect(found.get("required"), list, "required")
    if required != wanted["required"]:
        if required == list(wanted["properties"]):
            return "arguments with a default are not required."
        return f"required should be {wanted['required']}, but it is {required}."
    if found.get("additionalProperties") is not False:
        return '"additionalProperties" should be False: an argument that the function does not have is an error.'
    for name, part in wanted["properties"].items():
        if properties[name] != part:
            return _type_mistake(name, properties[name], part)
    return None


def _type_mistake(name: str, found: Any, wanted: dict[str, Any]) -> str:
    if found in ({"type": "str"}, {"type": "int"}, {"type": "float"}, {"type": "bool"}, {"type": "list"}):
        return f"{name}: Python's name of the type is not JSON's; it should be {wanted}."
    if "anyOf" in wanted and found == wanted["anyOf"][0]:
        return f"{name}: null is allowed, too; it should be {wanted}."
    if found == {"type": "string"} and "enum" in wanted:
        return f"{name}: a Literal allows some texts only; it should be {wanted}."
    if found == {"type": "array"}:
        return f"{name}: say of what the array is; it should be {wanted}."
    return f"{name}: it should be {wanted}, but it is {str(found)[:80]}."


def _contract(function: Callable[..., Any], part: Callable[[Any], Any] | None = None, **changed: Any) -> dict[str, Any]:
    """The right contract, by the types of a function; ``part`` makes a type's schema, ``changed`` replaces keys."""
    import inspect

    arguments = inspect.signature(function).parameters
    if any(a.annotation is a.empty for a in arguments.values()):
        raise TypeError("an argument has no type")
    properties = {name: (part or _part)(a.annotation) for name, a in arguments.items()}
    required = [name for name, a in arguments.items() if a.default is a.empty]
    return _wanted(function, properties, required) | changed


def _part(kind: Any) -> dict[str, Any]:
    import typing

    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    if kind in names:
        return {"type": names[kind]}
    if kind == list[str]:
        return {"type": "array", "items": {"type": "string"}}
    if typing.get_origin(kind) is Literal:
        return {"enum": list(typing.get_args(kind))}
    return {
        "anyOf": [_part(option) if option is not type(None) else {"type": "null"} for option in typing.get_args(kind)]
    }


def _with(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
    """Return a function that makes a `contract` whose parameters are changed."""

    def make() -> Any:
        def contract(function: Callable[..., Any]) -> dict[str, Any]:
            schema = _contract(function)
            change(schema["parameters"])
            return schema

        return contract

    return make


def _typed(part: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: lambda function: _contract(function, part)


def _lax(function: Callable[..., Any]) -> dict[str, Any]:
    return _wanted(function, {"day": _TEXT, "start": _TEXT}, []) if function is _untyped else _contract(function)


_DOG = Exercise(
    id="custom_functions/dog",
    level="🐕",
    title="A schema from a function",
    goal="Make the JSON schema of a tool from a function's types and docstring.",
    minutes=20,
    judge=_judge_contract,
    hints=(
        "`inspect.signature(function).parameters` has each argument's name, `annotation` and `default`; both are "
        "`inspect.Parameter.empty` where there is none.",
        "`typing.get_args` takes `str | None` and `Literal[...]` apart; `typing.get_origin(kind)` tells which it is.",
        "Write a function for one type, and let it call itself for the parts of a union.",
        "`inspect.getdoc(function)` gives the docstring; its first line ends at the first line break.",
    ),
    wrong=(
        (
            "whole docstring",
            lambda: lambda f: _contract(f, description=(f.__doc__ or "").strip()),
            "the description should be",
        ),
        ("all required", _with(lambda p: p.update(required=list(p["properties"]))), "with a default are not required"),
        ("not closed", _with(lambda p: p.pop("additionalProperties")), '"additionalProperties" should be False'),
        ("return value", _with(lambda p: p["properties"].update({"return": _TEXT})), "what it returns stands among"),
        (
            "Python's names",
            _typed(lambda k: {"type": k.__name__} if isinstance(k, type) else _part(k)),
            "is not JSON's",
        ),
        ("no null", _typed(lambda k: _part(k).get("anyOf", [_part(k)])[0]), "null is allowed, too"),
        ("any text", _typed(lambda k: _TEXT if "Literal" in str(k) else _part(k)), "a Literal allows some texts only"),
        ("bare array", _typed(lambda k: {"type": "array"} if k == list[str] else _part(k)), "say of what the array is"),
        ("number for integer", _typed(lambda k: {"type": "number"} if k is int else _part(k)), "minutes: it should be"),
        ("untyped passes", lambda: _lax, "an argument without a type passes"),
        ("only the schema", lambda: lambda f: _contract(f)["parameters"], "there is no 'name'"),
        ("no object", _with(lambda p: p.pop("type")), '"type": "object"'),
    ),
)

EXERCISES = (_TURTLE, _DOG)

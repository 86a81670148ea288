"""The calendar's tools: plain functions with a contract, the JSON schema made of it, and the guard before each call.

One contract serves four readers: the model reads the names, constrained decoding and the guard use the schema, and the
MCP server (`smol_course.agents.mcp_server`) publishes it. What the guard cannot do: know what the user wanted. It
only refuses what no user could have wanted.
"""

import copy
import inspect
import json
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from smol_course.agents.calendar import Calendar, Event, Refused
from smol_course.errors import CourseError

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Start = Annotated[str, Field(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Text = Annotated[str, Field(min_length=1, max_length=60)]
Number = Annotated[int, Field(ge=1, le=9999)]
Function = Callable[..., Any]

CHANGES = frozenset({"add_event", "move_event", "cancel_event", "write_note"})  # what cannot be taken back
OUTSIDE = frozenset({"search"})  # what brings in text that somebody else wrote
FINAL = "final_answer"
_SCHEMAS: "weakref.WeakKeyDictionary[Any, dict[str, Any]]" = weakref.WeakKeyDictionary()
_ROW = {"id", "title", "day", "start", "place", "people"}


class Toolbox:
    """The functions that an agent may call. Each returns what the model reads: a short text, or a list."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar

    def add_event(
        self, title: Text, day: Day, start: Start, place: Text | None = None, people: list[Text] | None = None
    ) -> str:
        """Put a new event of 60 minutes into the calendar.

        Args:
            title: what happens, in a few words
            day: the weekday
            start: 24-hour time such as 19:30
            place: where, if it was said
            people: who else takes part
        """
        event = self._calendar.add(title, day, start, place, people or ())
        return f"added {event.id}: {event.title}, {event.when}"

    def list_events(self, day: Day) -> list[dict[str, Any]]:
        """Return the events of a day.

        Args:
            day: the weekday
        """
        return [event.row() for event in self._calendar.events(day)]

    def find_events(self, text: Text) -> list[dict[str, Any]]:
        """Return the events in whose title, place or people these words stand.

        Args:
            text: one or more words
        """
        return [event.row() for event in self._calendar.find(text)]

    def move_event(self, id: Number, day: Day, start: Start) -> str:
        """Move an event to another day and time.

        Args:
            id: the event's number
            day: the new weekday
            start: the new 24-hour time
        """
        event = self._calendar.move(id, day, start)
        return f"moved {event.id}: {event.title}, {event.when}"

    def cancel_event(self, id: Number) -> str:
        """Remove an event from the calendar.

        Args:
            id: the event's number
        """
        event = self._calendar.cancel(id)
        return f"cancelled {event.id}: {event.title}, {event.when}"

    def free_slots(self, day: Day) -> list[str]:
        """Return the stretches of a day between 08:00 and 20:00 in which an event fits.

        Args:
            day: the weekday
        """
        return self._calendar.free(day)

    def functions(self) -> list[Function]:
        """Return the six functions, in the order in which prompts name them."""
        return [
            self.add_event,
            self.list_events,
            self.find_events,
            self.move_event,
            self.cancel_event,
            self.free_slots,
        ]


class Notes:
    """Text files in one folder, and in no other. With ``confined=False`` any path is taken: to see what that does."""

    def __init__(self, folder: str | Path, confined: bool = True) -> None:
        self._folder, self._confined = Path(folder).resolve(), confined

    def _path(self, name: str) -> Path:
        path = (self._folder / name).resolve()  # follows links, so that none leads out
        if self._confined and not path.is_relative_to(self._folder):
            raise Refused(f"{name} is outside the agent's folder")
        return path

    def write_note(self, name: Text, text: Annotated[str, Field(max_length=10_000)]) -> str:
        """Write a text file.

        Args:
            name: the file's name
            text: what it shall hold
        """
        self._path(name).write_text(text, encoding="utf-8", newline="\n")
        return f"wrote {name}"

    def read_note(self, name: Text) -> str:
        """Return what a text file holds.

        Args:
            name: the file's name
        """
        try:
            return self._path(name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Refused(f"there is no note {name}") from error


# --- The contract as a schema -------------------------------------------------------------------------------


def schema_of(function: Function) -> dict[str, Any]:
    """Return the JSON schema of a function's arguments, with the texts of its docstring's ``Args:``.

    Raises CourseError for an argument without a type.
    """
    key = getattr(function, "__func__", function)
    if key in _SCHEMAS:
        return copy.deepcopy(_SCHEMAS[key])
    bare = [p.name for p in inspect.signature(function).parameters.values() if p.annotation is p.empty]
    if bare:
        raise CourseError(f"{function.__name__} says no type for {', '.join(bare)}: each argument needs one.")
    schema = TypeAdapter(function).json_schema()
    texts = _argument_texts(function)
    for name, part in schema["properties"].items():
        part.pop("title", None)
        if name in texts:
            part["description"] = texts[name]
    with suppress(TypeError):  # a function that cannot be kept
        _SCHEMAS[key] = copy.deepcopy(schema)
    return schema


def summary_of(function: Function) -> str:
    """Return the first line of a function's docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _argument_texts(function: Function) -> dict[str, str]:
    _, _, below = (inspect.getdoc(function) or "").partition("Args:\n")
    lines = [line.strip().partition(": ") for line in below.splitlines()]
    return {name: text for name, colon, text in lines if colon}


def final_answer(answer: Annotated[str, Field(max_length=400)]) -> str:
    """Say this to the user, and end.

    Args:
        answer: what to say
    """
    return answer


def call_schema(functions: Sequence[Function]) -> dict[str, Any]:
    """Return the schema of one call as JSON: ``{"name": ..., "arguments": {...}}`` of one of these functions."""
    calls = []
    for function in functions:
        arguments = {"name": {"const": function.__name__}, "arguments": schema_of(function)}
        calls.append(
            {
                "type": "object",
                "properties": arguments,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls}


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema))


def faults(arguments: Any, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a call's arguments, one short sentence each; [] if they fit the schema."""
    messages = []
    for error in _validator(json.dumps(schema)).iter_errors(arguments):
        where = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "required":
            messages.append(error.message)
        elif error.validator == "additionalProperties":
            messages.append(error.message.partition(" (")[2].rstrip(")") or error.message)
        elif error.validator == "enum":
            messages.append(f"{where} must be one of {', '.join(map(str, error.validator_value))}")
        else:
            messages.append(f"{where or 'the call'} does not fit: {error.message}"[:160])
    return messages


# --- The guard ----------------------------------------------------------------------------------------------


class Stop(Exception):
    """The run must end here: what the agent does leads nowhere."""


class Guard:
    """What stands before every call of one run. Make a new one for each run.

    It validates arguments against the schema, refuses changes once text from outside was read (that text may hold
    orders), allows a few changes for each run, and ends a run that makes the same call again and again. Each part can
    be turned off, to see what happens without it.
    """

    def __init__(
        self, validate: bool = True, taint: bool = True, most_changes: int | None = 8, most_repeats: int | None = 2
    ) -> None:
        self.validate, self.taint = validate, taint
        self.most_changes, self.most_repeats = most_changes, most_repeats
        self.calls: list[tuple[str, str]] = []
        self.tainted = False
        self.stopped: str | None = None

    def call(self, function: Function, arguments: dict[str, Any]) -> Any:
        """Call the function if nothing speaks against it, and return what it returned.

        Raises Refused with the reason, which the model may read, and Stop if the run must end.
        """
        name = function.__name__
        key = (name, json.dumps(arguments, sort_keys=True, default=str))
        self.calls.append(key)
        self._same_again(key)
        if self.validate and (wrong := faults(arguments, schema_of(function))):
            raise Refused("; ".join(wrong))
        if name in CHANGES:
            self._may_change()
        value = function(**arguments)
        if name in OUTSIDE:
            self.tainted = True
        return value

    def _same_again(self, key: tuple[str, str]) -> None:
        if self.stopped:
            raise Stop(self.stopped)
        if self.most_repeats is None:
            return
        if self.calls.count(key) > self.most_repeats:
            self.stopped = f"the same call of {key[0]} more than {self.most_repeats} times"
            raise Stop(self.stopped)

    def _may_change(self) -> None:
        if self.taint and self.tainted:
            raise Refused("nothing may be changed after reading a page from outside")
        if self.most_changes is None:
            return
        if sum(name in CHANGES for name, _ in self.calls) > self.most_changes:
            self.stopped = f"more than {self.most_changes} changes in one run"
            raise Stop(self.stopped)


def as_text(value: Any) -> str:
    """Return what a tool returned as the model, or the user, reads it; an empty list is "nothing"."""
    if isinstance(value, list | tuple):
        return "; ".join(as_text(part) for part in value) or "nothing"
    if isinstance(value, dict) and set(value) == _ROW:
        return str(Event(**value | {"people": tuple(value.get("people") or ())}))
    return str(value)


def called(guard: Guard, function: Function, arguments: dict[str, Any]) -> Any:
    """Call a function under a guard and return what it returned; a refusal is a text that begins with "refused"."""
    try:
        return guard.call(function, arguments)
    except (Refused, TypeError) as refusal:  # TypeError: unchecked arguments that the function does not take
        return f"refused: {refusal}"


def observed(guard: Guard, function: Function, arguments: dict[str, Any]) -> str:
    """Call a function under a guard and return what the model reads next."""
    return as_text(called(guard, function, arguments))

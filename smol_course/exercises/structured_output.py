"""The exercises of the notebook structured_output: a schema that holds, and the mask of allowed tokens."""

from collections.abc import Callable
from typing import Any

from smol_course.exercises import Exercise, Mistake, call, expect

# --- 🐢 A schema that holds ---------------------------------------------------------------------------------

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_REMINDER = {"text": "water the plants", "day": "friday", "urgent": False}
# What a right answer may be: the schema has to let it pass.
_GOOD = (
    ("a plain reminder", _REMINDER),
    ("a reminder without a day (null)", _REMINDER | {"day": None}),
    ("an urgent one", _REMINDER | {"urgent": True}),
    ("every weekday", _REMINDER | {"day": "sunday"}),
    ("a text of 80 characters", _REMINDER | {"text": "x" * 80}),
)
# What must never be written, and what is wrong with a schema that allows it.
_BAD = (
    ("text", 'A mere text passes: the outermost "type" is "object".', "water the plants"),
    ("nothing", 'An empty object passes: name all three fields under "required".', {}),
    ("no urgent", '"urgent" may be left out: name it under "required".', {"text": "a", "day": None}),
    ("no day", '"day" may be left out: a null is written, a missing field is none.', {"text": "a", "urgent": True}),
    ("no text", '"text" may be left out: name it under "required".', {"day": None, "urgent": True}),
    (
        "one more",
        'Fields of any other name pass: set "additionalProperties" to False.',
        _REMINDER | {"place": "home"},
    ),
    ("odd day", "Any text passes as a day: list the seven weekdays.", _REMINDER | {"day": "someday"}),
    ("capital", "A day with a capital letter passes: weekdays are lower-case here.", _REMINDER | {"day": "Friday"}),
    ("urgent a text", 'A text passes for urgent: its "type" is "boolean".', _REMINDER | {"urgent": "yes"}),
    ("text a number", 'A number passes as the text: its "type" is "string".', _REMINDER | {"text": 5}),
    ("empty text", 'An empty text passes: set its "minLength" to 1.', _REMINDER | {"text": ""}),
    (
        "long text",
        'A text of 81 characters passes: without "maxLength" 80 an answer may never end.',
        _REMINDER | {"text": "x" * 81},
    ),
)  # fmt: skip


def _judge_schema(answer: Any) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = expect(answer, dict, "reminder_schema")
    if not schema:
        raise Mistake("An empty schema allows everything: say what a reminder is.")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        return f"This is no JSON schema: at {where or 'the top'}, {error.message[:120]}."
    judge = Draft202012Validator(schema)
    for what, reminder in _GOOD:
        fault = next(iter(judge.iter_errors(reminder)), None)
        if fault:
            return f"It refuses {what}: {fault.message[:120]}."
    return next((said for _, said, reminder in _BAD if judge.is_valid(reminder)), None)


def _schema(**changed: Any) -> dict[str, Any]:
    made = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 80},
            "day": {"enum": [*_DAYS, None]},
            "urgent": {"type": "boolean"},
        },
        "required": ["text", "day", "urgent"],
        "additionalProperties": False,
    }
    return made | changed


def _with(field: str, schema: Any) -> Callable[[], Any]:
    """Return a function that makes the right schema with another one for a field."""

    def make() -> Any:
        made = _schema()
        made["properties"][field] = schema
        return made

    return make


_TURTLE = Exercise(
    id="structured_output/turtle",
    level="🐢",
    title="A schema that holds",
    goal="Write a JSON schema that lets every right reminder pass and nothing else.",
    minutes=5,
    judge=_judge_schema,
    hints=(
        "Look at the schema of the event above: an object has `properties`, `required` and `additionalProperties`.",
        "`enum` lists values of any type, so None may stand beside the weekdays.",
        "A string has `minLength` and `maxLength`; `boolean` is the type of True and False.",
    ),
    wrong=(
        ("not closed", lambda: _schema(additionalProperties=True), "any other name pass"),
        ("nothing required", lambda: _schema(required=[]), "An empty object passes"),
        ("no day required", lambda: _schema(required=["text", "urgent"]), '"day" may be left out'),
        ("no urgent required", lambda: _schema(required=["text", "day"]), '"urgent" may be left out'),
        ("no text required", lambda: _schema(required=["day", "urgent"]), '"text" may be left out'),
        ("no null", _with("day", {"enum": list(_DAYS)}), "a reminder without a day (null)"),
        (
            "capitals",
            _with("day", {"enum": [day.title() for day in _DAYS] + [None]}),
            "refuses a plain reminder",
        ),
        ("any day", _with("day", {"type": ["string", "null"]}), "Any text passes as a day"),
        ("no end", _with("text", {"type": "string", "minLength": 1}), "A text of 81 characters passes"),
        (
            "too short",
            _with("text", {"type": "string", "minLength": 1, "maxLength": 40}),
            "refuses a text of 80 characters",
        ),
        ("may be empty", _with("text", {"type": "string", "maxLength": 80}), "An empty text passes"),
        ("urgent anything", _with("urgent", {}), "A text passes for urgent"),
        ("text anything", _with("text", {"maxLength": 80}), "A number passes as the text"),
        ("no object", lambda: {k: v for k, v in _schema().items() if k != "type"}, "A mere text passes"),
        ("five days", _with("day", {"enum": [*_DAYS[:5], None]}), "refuses every weekday"),
        ("no schema", lambda: _schema(required="text"), "This is no JSON schema"),
        ("empty", dict, "An empty schema allows everything"),
        ("JSON text", lambda: "{}", "but it is a text"),
    ),
)

# --- 🐕 The mask --------------------------------------------------------------------------------------------

_PIECES = ["mon", "day", "d", "friday", "fri", "", "monday!", "sun", "ay", "m", "x", "null", "n", "ul", "l"]
_END = 5  # the end marker's text is empty, as a decoder gives it
_CHOICES = ["monday", "friday", "null", "mon"]
_SO_FAR = ("", "mon", "f", "fri", "monday", "monda", "nu", "x")


def _allowed(pieces: list[str], end: int, choices: list[str], so_far: str) -> list[int]:
    towards = [
        token
        for token, piece in enumerate(pieces)
        if piece and token != end and any(choice.startswith(so_far + piece) for choice in choices)
    ]
    return sorted([*towards, end] if so_far in choices else towards)


def _judge_mask(answer: Any) -> str | None:
    for so_far in _SO_FAR:
        given = [list(_PIECES), _END, list(_CHOICES), so_far]
        found = call(answer, *given)
        found = sorted(found) if type(found) in (set, tuple, range) else expect(found, list, "what allowed returns")
        for token in found:
            expect(token, int, "each token of what allowed returns")
        if sorted(found) != _allowed(_PIECES, _END, _CHOICES, so_far):
            return _mask_mistake(set(found), so_far)
        if given[0] != _PIECES or given[2] != _CHOICES:
            return "The tokens are right, but your function changed a list that it was given."
    return None


def _mask_mistake(found: set[int], so_far: str) -> str:
    """Name the mistake that leads to these allowed tokens."""
    right = set(_allowed(_PIECES, _END, _CHOICES, so_far))
    shown = f"Behind {so_far!r}"
    if not found <= set(range(len(_PIECES))):
        return f"{shown}: {sorted(found)} holds numbers that are no token's."
    if found == right:
        return f"{shown} the tokens are right, but one of them stands there twice."
    if _END in right - found:
        return f"{shown} the end marker is missing: this is one of the choices, so it may end here."
    if _END in found - right:
        return f"{shown} the end marker is allowed, but nothing complete stands there yet."
    if so_far in _CHOICES and right - found and not found - {_END}:
        return f"{shown} only the end is allowed, but a longer choice begins so, too."
    extra = sorted(_PIECES[token] for token in found - right)
    missing = sorted(_PIECES[token] for token in right - found)
    if extra and all(any(choice.startswith(piece) for choice in _CHOICES) for piece in extra):
        return f"{shown}, {extra[0]!r} is allowed: it begins a choice, but not behind what is written."
    if extra and all(any(piece in choice for choice in _CHOICES) for piece in extra):
        return f"{shown}, {extra[0]!r} is allowed: it stands somewhere in a choice, but not here."
    if extra and all(any((so_far + piece).startswith(choice) for choice in _CHOICES) for piece in extra):
        return f"{shown}, {extra[0]!r} is allowed: it goes beyond the end of a choice."
    if extra:
        return f"{shown}, {extra[0]!r} is allowed, which leads to no choice."
    if all(so_far + piece not in _CHOICES for piece in missing):
        return f"{shown}, {missing[0]!r} is missing: a token may be a part of what is left."
    return f"{shown}, {missing[0]!r} is missing: it leads to a choice."


def _masking(keep: Callable[[str, str], bool], end: Callable[[str], bool] = _CHOICES.__contains__) -> Any:
    """Return a function that makes a mask out of a rule for pieces and one for the end marker."""

    def allowed(pieces: list[str], marker: int, choices: list[str], so_far: str) -> list[int]:
        towards = [token for token, piece in enumerate(pieces) if token != marker and keep(so_far, piece)]
        return [*towards, marker] if end(so_far) else towards

    return lambda: allowed


def _goes_on(so_far: str, piece: str) -> bool:
    return any(choice.startswith(so_far + piece) for choice in _CHOICES)


_DOG = Exercise(
    id="structured_output/dog",
    level="🐕",
    title="The mask",
    goal="Say which tokens may come next, so that one of several texts is written.",
    minutes=20,
    judge=_judge_mask,
    hints=(
        "Put a token's text behind what is written. Does one of the choices begin with that?",
        "`choice.startswith(so_far + piece)` says it for one choice; `any(...)` for all.",
        "An empty text changes nothing, so it would always be allowed, and the answer need never end. Leave such "
        "tokens out; the end marker has a rule of its own.",
        "The end marker is allowed exactly when `so_far` is itself one of the choices. It need not be the only "
        "token then: another choice may go on.",
    ),
    wrong=(
        (
            "begins a choice",
            _masking(lambda so_far, piece: bool(piece) and _goes_on("", piece)),
            "begins a choice, but",
        ),
        (
            "somewhere in a choice",
            _masking(lambda so_far, piece: bool(piece) and any(piece in choice for choice in _CHOICES)),
            "somewhere in a choice",
        ),
        (
            "whole choices only",
            _masking(lambda so_far, piece: bool(piece) and so_far + piece in _CHOICES),
            "a token may be a part",
        ),
        (
            "beyond the end",
            _masking(
                lambda so_far, piece: (
                    bool(piece) and (_goes_on(so_far, piece) or any((so_far + piece).startswith(c) for c in _CHOICES))
                )
            ),
            "beyond the end of a choice",
        ),
        (
            "never ends",
            _masking(lambda s, p: bool(p) and _goes_on(s, p), lambda s: False),
            "end marker is missing",
        ),
        (
            "may always end",
            _masking(lambda s, p: bool(p) and _goes_on(s, p), lambda s: True),
            "nothing complete",
        ),
        (
            "ends at once",
            _masking(lambda s, p: bool(p) and s not in _CHOICES and _goes_on(s, p)),
            "a longer choice begins so",
        ),
        (
            "texts",
            lambda: lambda pieces, end, choices, so_far: [p for p in pieces if p and _goes_on(so_far, p)],
            "each token of what allowed returns should be a whole number",
        ),
        (
            "everything",
            _masking(lambda so_far, piece: bool(piece), lambda so_far: False),
            "which leads to no choice",
        ),
        (
            "each twice",
            lambda: lambda pieces, end, choices, so_far: 2 * _allowed(pieces, end, choices, so_far),
            "stands there twice",
        ),
        ("one number", lambda: lambda pieces, end, choices, so_far: 0, "should be a list"),
        ("no token", lambda: lambda pieces, end, choices, so_far: [99], "numbers that are no token's"),
    ),
)

EXERCISES = (_TURTLE, _DOG)

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
    *((f"a reminder on {day}", _REMINDER | {"day": day}) for day in _DAYS),
    ("a text of 80 characters", _REMINDER | {"text": "x" * 80}),
    ("a text of 1 character", _REMINDER | {"text": "x"}),
    ("a text of two lines", _REMINDER | {"text": "water the plants\nand the roses"}),
    ("a text with marks and numbers", _REMINDER | {"text": "Call Zoë (at 9:30)!"}),
)
_CLOSED = 'Fields of any other name pass: set "additionalProperties" to False.'
_CAPITAL = "A day with a capital letter passes: weekdays are lower-case here."
_ODD_DAY = "passes as a day: list the seven weekdays and None, and nothing else."
# What must never be written, and what is wrong with a schema that allows it.
_BAD: tuple[tuple[str, Any], ...] = (
    ('A mere text passes: the outermost "type" is "object".', "water the plants"),
    *(
        (f'{label} passes: the outermost "type" is "object" and nothing else.', value)
        for label, value in (("A null", None), ("A list", [_REMINDER]), ("A number", 5), ("A mere true", True))
    ),
    ('An empty object passes: name all three fields under "required".', {}),
    ('"urgent" may be left out: name it under "required".', {"text": "a", "day": None}),
    ('"day" may be left out: a null is written, a missing field is none.', {"text": "a", "urgent": True}),
    ('"text" may be left out: name it under "required".', {"day": None, "urgent": True}),
    *((_CLOSED, _REMINDER | {"place": more}) for more in ("home", 1, True, None, [], {})),
    *((_CLOSED, _REMINDER | {name: "home"}) for name in ("Text", "id", "")),
    ("Any text passes as a day: list the seven weekdays.", _REMINDER | {"day": "someday"}),
    *((_CAPITAL, _REMINDER | {"day": written(day)}) for day in _DAYS for written in (str.title, str.upper)),
    *((f"The text {day!r} {_ODD_DAY}", _REMINDER | {"day": day}) for day in ("", "null", "friday ", "today")),
    *((f"The text {day[:3]!r} {_ODD_DAY}", _REMINDER | {"day": day[:3]}) for day in _DAYS),
    *((f"{label} {_ODD_DAY}", _REMINDER | {"day": day}) for label, day in (("A number", 0), ("A number", 5))),
    *((f"{label} {_ODD_DAY}", _REMINDER | {"day": day}) for label, day in (("False", False), ("A list", ["friday"]))),
    *(
        (f'{label} passes for urgent: its "type" is "boolean".', _REMINDER | {"urgent": value})
        for label, value in (
            ("A text", "yes"),
            ("A null", None),
            ("A number", 0),
            ("A number", 1),
            ("A list", []),
            ("An object", {}),
        )
    ),
    *(
        (f'{label} passes as the text: its "type" is "string".', _REMINDER | {"text": value})
        for label, value in (
            ("A number", 5),
            ("A null", None),
            ("A boolean", True),
            ("A list", ["water"]),
            ("An object", {"a": 1}),
        )
    ),
    ('An empty text passes: set its "minLength" to 1.', _REMINDER | {"text": ""}),
    *(
        (
            f'A text of {len(text)} characters passes: without "maxLength" 80 an answer may never end.',
            _REMINDER | {"text": text},
        )
        for text in ("x" * 81, "x" * 500, "x" * 80 + "\n")
    ),
)


def _judge_schema(answer: Any) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema = expect(answer, dict, "reminder_schema")
    if not schema:
        raise Mistake("An empty schema allows everything: say what a reminder is.")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        return f"This is no JSON schema: at {where or 'the top'}, {error.message[:120]}."
    judge = Draft202012Validator(schema, registry=Registry())  # which fetches nothing, whatever a "$ref" says
    try:
        for case, reminder in _GOOD:
            fault = next(iter(judge.iter_errors(reminder)), None)
            if fault:
                return f"It refuses {case}: {fault.message[:120]}."
        return next((message for message, reminder in _BAD if judge.is_valid(reminder)), None)
    except Unresolvable:
        return 'A "$ref" of your schema leads nowhere: write what it means in its place, or under "$defs".'


def _schema(**changed: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": 80},
            "day": {"enum": [*_DAYS, None]},
            "urgent": {"type": "boolean"},
        },
        "required": ["text", "day", "urgent"],
        "additionalProperties": False,
    }
    return schema | changed


def _with(field: str, schema: Any) -> Callable[[], Any]:
    """Return a function that makes the right schema with another one for a field."""

    def make() -> Any:
        whole = _schema()
        whole["properties"][field] = schema
        return whole

    return make


_TURTLE = Exercise(
    id="structured_output/turtle",
    level="🐢",
    title="A schema that holds",
    goal="Write a JSON schema that lets every right reminder pass and nothing else.",
    minutes=5,
    judge=_judge_schema,
    needs=("jsonschema",),
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
        ("urgent or null", _with("urgent", {"type": ["boolean", "null"]}), "A null passes for urgent"),
        ("urgent a number", _with("urgent", {"enum": [True, False, 0]}), "A number passes for urgent"),
        ("empty day", _with("day", {"enum": [*_DAYS, None, ""]}), "The text '' passes as a day"),
        ("one capital", _with("day", {"enum": [*_DAYS, None, "Sunday"]}), "capital letter passes"),
        ("text anything", _with("text", {"maxLength": 80}), "A number passes as the text"),
        ("no object", lambda: {k: v for k, v in _schema().items() if k != "type"}, "A mere text passes"),
        ("five days", _with("day", {"enum": [*_DAYS[:5], None]}), "refuses a reminder on saturday"),
        ("no schema", lambda: _schema(required="text"), "This is no JSON schema"),
        ("a reference", _with("day", {"$ref": "https://example.org/day.json"}), "leads nowhere"),
        ("empty", dict, "An empty schema allows everything"),
        ("JSON text", lambda: "{}", "but it is a text"),
    ),
)

# --- 🐕 The mask --------------------------------------------------------------------------------------------

# The tokens' texts, the end marker's number, the choices, the texts so far. A decoder may give the end marker an empty
# text or one of its own; other tokens may be empty, and two may have the same text.
_Case = tuple[list[str], int, list[str], str]
_VOCABULARIES: tuple[tuple[list[str], int, list[str], tuple[str, ...]], ...] = (
    (
        ["mon", "day", "d", "friday", "fri", "", "monday!", "sun", "ay", "m", "x", "null", "n", "ul", "l"],
        5,
        ["monday", "friday", "null", "mon"],
        ("", "mon", "f", "fri", "monday", "monda", "nu", "x"),
    ),
    (["a", "", "on", "ff", "o", "", "on", "f", "<end>"], 8, ["on", "off"], ("", "o", "on", "of")),
    (["no", "yes", "t", "not", " ", "way", " w"], 0, ["not", "no", "yes", "no way"], ("", "no", "not", "no ")),
)
_MASKS: tuple[_Case, ...] = tuple((*rest, so_far) for *rest, texts in _VOCABULARIES for so_far in texts)  # type: ignore


def _allowed(pieces: list[str], end: int, choices: list[str], so_far: str) -> list[int]:
    towards = [
        token
        for token, piece in enumerate(pieces)
        if piece and token != end and any(choice.startswith(so_far + piece) for choice in choices)
    ]
    return sorted([*towards, end] if so_far in choices else towards)


def _judge_mask(answer: Any) -> str | None:
    for pieces, end, choices, so_far in _MASKS:
        inputs = [list(pieces), end, list(choices), so_far]
        tokens = call(answer, *inputs)
        tokens = sorted(tokens) if type(tokens) in (set, tuple, range) else expect(tokens, list, "what allowed returns")
        tokens = [expect(token, int, "each token of what allowed returns") for token in tokens]
        if sorted(tokens) != _allowed(pieces, end, choices, so_far):
            return _mask_mistake(set(tokens), pieces, end, choices, so_far)
        if inputs[0] != pieces or inputs[2] != choices:
            return "The tokens are right, but your function changed a list that it was given."
    return None


def _mask_mistake(found: set[int], pieces: list[str], end: int, choices: list[str], so_far: str) -> str:
    """Name what is wrong with these allowed tokens."""
    right = set(_allowed(pieces, end, choices, so_far))
    shown = f"With the choices {choices}, {f'behind {so_far!r}' if so_far else 'at the very beginning'}"
    if not found <= set(range(len(pieces))):
        return f"{shown}, {sorted(found)} holds numbers that are no token's."
    if found == right:
        return f"{shown}, the tokens are right, but one of them stands there twice."
    if end in right - found:
        return f"{shown}, the end marker is missing: this is one of the choices, so it may end here."
    if end in found - right:
        return f"{shown}, you allow the end marker, but nothing complete stands there yet."
    if so_far in choices and right - found and not found - {end}:
        return f"{shown}, you allow only the end, but a longer choice begins so, too."
    extra = sorted(pieces[token] for token in found - right)
    missing = sorted(pieces[token] for token in right - found)
    if "" in extra:
        return f"{shown}, you allow a token without text: it changes nothing, so the answer need never end."
    if extra and all(any(choice.startswith(piece) for choice in choices) for piece in extra):
        return f"{shown}, you allow {extra[0]!r}: it begins a choice, but not behind what is written."
    if extra and all(any(piece in choice for choice in choices) for piece in extra):
        return f"{shown}, you allow {extra[0]!r}: it stands somewhere in a choice, but not here."
    if extra and all(any((so_far + piece).startswith(choice) for choice in choices) for piece in extra):
        return f"{shown}, you allow {extra[0]!r}: it goes beyond the end of a choice."
    if extra:
        return f"{shown}, you allow {extra[0]!r}, which leads to no choice."
    if {pieces[token] for token in found} & set(missing):
        return f"{shown}, {missing[0]!r} is there once: two tokens have that text, and each may come."
    if all(so_far + piece not in choices for piece in missing):
        return f"{shown}, {missing[0]!r} is missing: a token may be a part of what is left."
    return f"{shown}, {missing[0]!r} is missing: it leads to a choice."


def _masking(
    keep: Callable[[list[str], str, str], bool], end: Callable[[list[str], str], bool] = list.__contains__
) -> Any:
    """Return a function that makes a mask out of a rule for pieces and one for the end marker."""

    def allowed(pieces: list[str], marker: int, choices: list[str], so_far: str) -> list[int]:
        towards = [token for token, piece in enumerate(pieces) if token != marker and keep(choices, so_far, piece)]
        return [*towards, marker] if end(choices, so_far) else towards

    return lambda: allowed


def _goes_on(choices: list[str], so_far: str, piece: str) -> bool:
    return bool(piece) and any(choice.startswith(so_far + piece) for choice in choices)


def _first_of_a_text(pieces: list[str], end: int, choices: list[str], so_far: str) -> list[int]:
    tokens = [pieces.index(pieces[token]) for token in _allowed(pieces, end, choices, so_far) if token != end]
    return list({*tokens, *([end] if so_far in choices else [])})


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
        ("begins a choice", _masking(lambda c, so_far, piece: _goes_on(c, "", piece)), "begins a choice, but"),
        (
            "somewhere in a choice",
            _masking(lambda c, so_far, piece: bool(piece) and any(piece in choice for choice in c)),
            "somewhere in a choice",
        ),
        (
            "whole choices only",
            _masking(lambda c, so_far, piece: bool(piece) and so_far + piece in c),
            "a token may be a part",
        ),
        (
            "beyond the end",
            _masking(
                lambda c, so_far, piece: (
                    _goes_on(c, so_far, piece)
                    or (bool(piece) and any((so_far + piece).startswith(choice) for choice in c))
                )
            ),
            "beyond the end of a choice",
        ),
        ("never ends", _masking(_goes_on, lambda c, so_far: False), "end marker is missing"),
        ("may always end", _masking(_goes_on, lambda c, so_far: True), "nothing complete"),
        (
            "ends at once",
            _masking(lambda c, so_far, piece: so_far not in c and _goes_on(c, so_far, piece)),
            "a longer choice begins so",
        ),
        (
            "pieces without text",
            _masking(lambda c, so_far, piece: any(choice.startswith(so_far + piece) for choice in c)),
            "you allow a token without text",
        ),
        ("one token for a text", lambda: _first_of_a_text, "two tokens have that text"),
        (
            "texts",
            lambda: lambda pieces, end, choices, so_far: [p for p in pieces if _goes_on(choices, so_far, p)],
            "each token of what allowed returns should be a whole number",
        ),
        ("everything", _masking(lambda c, so_far, piece: bool(piece), lambda c, so_far: False), "leads to no choice"),
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

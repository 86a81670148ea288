"""Other right answers, and wrong ones that once passed."""

DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()


def schema():
    """The same in other words: alternatives, a definition elsewhere, limits on the number of fields."""
    return {
        "$defs": {"weekday": {"anyOf": [{"const": day} for day in DAYS]}},
        "type": ["object"],
        "required": ["urgent", "text", "day"],
        "maxProperties": 3,
        "properties": {
            "day": {"oneOf": [{"$ref": "#/$defs/weekday"}, {"type": "null"}]},
            "urgent": {"enum": [False, True]},
            "text": {"allOf": [{"type": "string"}, {"minLength": 1}, {"maxLength": 80}]},
        },
    }


def allowed(pieces, end, choices, so_far):
    rest = [choice[len(so_far) :] for choice in choices if choice[: len(so_far)] == so_far]
    tokens = {token for token in range(len(pieces)) for text in rest if pieces[token] and text.find(pieces[token]) == 0}
    return (tokens - {end}) | ({end} if "" in rest else set())


def _schema(**fields):
    properties = {
        "text": {"type": "string", "minLength": 1, "maxLength": 80},
        "day": {"enum": [*DAYS, None]},
        "urgent": {"type": "boolean"},
    }
    required = ["text", "day", "urgent"]
    return {"type": "object", "properties": properties | fields, "required": required, "additionalProperties": False}


def empty_pieces(pieces, end, choices, so_far):
    tokens = [token for token, piece in enumerate(pieces) if any(c.startswith(so_far + piece) for c in choices)]
    return sorted({*tokens} - {end} | ({end} if so_far in choices else set()))


ALTERNATIVES = {"structured_output/turtle": schema, "structured_output/dog": lambda: allowed}
MUTANTS = {
    "structured_output/turtle": (
        *((f'"{day}"', new) for day in DAYS for new in ('""', f'"{day.title()}"', f'"{day}X"')),
        ('"minLength": 1', '"minLength": 2'),
    ),
    "structured_output/dog": (
        ("if piece and token", "if token"),
        ("piece and token != end and any", "piece and any"),
        ("for choice in choices)", "for choice in choices[:-1])"),
    ),
}
REFUSED = {
    "structured_output/turtle": (
        (
            "three days",
            lambda: _schema(day={"enum": ["monday", "friday", "sunday", None]}),
            "refuses a reminder on tuesday",
        ),
        (
            "a capital too",
            lambda: _schema(day={"enum": [*DAYS, "Tuesday", None]}),
            "A day with a capital letter passes",
        ),
        ("no day as text", lambda: _schema(day={"enum": [*DAYS, "", None]}), "The text '' passes as a day"),
        ("urgent null", lambda: _schema(urgent={"type": ["boolean", "null"]}), "A null passes for urgent"),
        ("urgent 0", lambda: _schema(urgent={"enum": [True, False, 0]}), "A number passes for urgent"),
        ("more numbers", lambda: _schema() | {"additionalProperties": {"type": "number"}}, "any other name pass"),
    ),
    "structured_output/dog": (("empty pieces", lambda: empty_pieces, "you allow a token without text"),),
}

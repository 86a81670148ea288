"""Event accuracy, field F1, intervals, and `record`: the one way a number leaves a notebook.

`watch` prints what a trainer logs. Nothing here knows about models or files: a metric takes texts and gives numbers.
"""

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from string import Formatter
from typing import Any
from weakref import WeakKeyDictionary

FIELDS = ("title", "day", "start", "place", "people")
TITLE_F1 = 0.5
_RESULT = "application/vnd.smol.result+json"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ARTICLES = {"the", "a", "an"}
_NO_NAME = object()  # what stands among the people and is not a name: equal to no name


def parse_event(text: str) -> dict | None:
    """Read the event out of a model's answer, None where it begins with ``null``. Raises ValueError if it has neither.

    The answer may stand in a code fence or have words around it: the JSON object that begins at the first brace counts,
    so that a model that was only prompted is not punished for its manners. Keys it left out are null (no people:
    ``[]``); keys that are not in the schema are dropped; a value of the wrong type stays and is wrong when compared.
    """
    bare = re.sub(r"^\s*```\w*\s*", "", text).strip()
    if re.match(r"null\b", bare):
        return None
    start = bare.find("{")
    if start < 0:
        raise ValueError("no JSON in the answer")
    try:
        value, _ = json.JSONDecoder().raw_decode(bare[start:])
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError("the JSON in the answer is broken") from error
    event = {field: value.get(field) for field in FIELDS}
    event["people"] = [] if event["people"] is None else event["people"]
    return event


def _read(answer: str) -> Any:
    """The event in an answer, None for "no event", or False where there is neither."""
    with suppress(ValueError):
        return parse_event(answer)
    return False


def _words(value: object) -> list[str]:
    return re.findall(r"\w+", str(value).casefold())


def title_f1(answer: object, title: object) -> float:
    """Return the token F1 (0 to 1) of two titles: word overlap, case and punctuation aside, as in SQuAD (Rajpurkar et
    al., 2016, arXiv:1606.05250). Anything but a text scores 0 against a text."""
    if not isinstance(answer, str) or not isinstance(title, str):
        return float(answer is None and title is None)
    left, right = _words(answer), _words(title)
    common = sum(min(left.count(word), right.count(word)) for word in set(left))
    return 2 * common / (len(left) + len(right)) if left or right else 1.0


def _place(value: object) -> object:
    if not isinstance(value, str):
        return value
    return " ".join(word for word in _words(value) if word not in _ARTICLES)


def _people(value: object) -> set[object]:
    if not isinstance(value, list):
        return set() if value is None else {_NO_NAME}
    return {" ".join(name.casefold().split()) if isinstance(name, str) else _NO_NAME for name in value}


def fields_right(answer: dict, event: dict) -> dict[str, bool]:
    """Say for each field of two events whether the answer's is right."""
    return {
        "title": title_f1(answer["title"], event["title"]) >= TITLE_F1,
        "day": answer["day"] == event["day"],
        "start": answer["start"] == event["start"],
        "place": _place(answer["place"]) == _place(event["place"]),
        "people": _people(answer["people"]) == _people(event["people"]),
    }


def event_right(answer: str, event: str) -> bool:
    """Say whether an answer gives the event (the data set's JSON text): every field right, or "no event" recognised."""
    given, truth = _read(answer), json.loads(event)
    return all(fields_right(given, truth).values()) if given and truth else given is truth


def _pairs(event: Any) -> set[tuple[str, object]]:
    """The fields that an event fills, and each of its people."""
    filled = {(field, None) for field in FIELDS[:-1] if event and event[field] is not None}
    return filled | {("people", person) for person in _people(event["people"] if event else [])}


def field_f1(answers: list[str], events: list[str]) -> float:
    """Return F1 (0 to 1), micro-averaged over all (field, value) pairs of the list, nulls left out.

    Each person is a pair. A title counts as the same value from a token F1 of 0.5 on. An unreadable answer has no
    pairs, so it costs recall; where nothing is said by either side, F1 is 1.
    """
    total = shared = 0
    for answer, event in zip(answers, events, strict=True):
        parsed, truth = _read(answer), json.loads(event)
        right = fields_right(parsed, truth) | {"people": True} if parsed and truth else {}
        total += len(_pairs(parsed)) + len(_pairs(truth))
        shared += sum(right[field] for field, _ in _pairs(parsed) & _pairs(truth))
    return 2 * shared / total if total else 1.0


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval (low, high) of a proportion after Wilson (1927). Raises ValueError for no proportion."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = 1.959964
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class EventScores:
    """What `score_events` found; every share is 0 to 1."""

    n: int
    accuracy: float
    low: float
    high: float
    field_f1: float
    readable: float
    right: tuple[bool, ...]

    def __str__(self) -> str:
        accuracy = f"event accuracy {self.accuracy:.0%} ({self.low:.0%} to {self.high:.0%}, n = {self.n})"
        return f"{accuracy}, field F1 {self.field_f1:.2f}, readable {self.readable:.0%}"


def score_events(answers: list[str], events: list[str]) -> EventScores:
    """Score a model's answers against the data set's events (JSON texts). Raises ValueError unless lists are alike."""
    right = tuple(event_right(answer, event) for answer, event in zip(answers, events, strict=True))
    interval, n = wilson(sum(right), len(right)), len(right)
    readable = sum(_read(answer) is not False for answer in answers) / n
    return EventScores(n, sum(right) / n, *interval, field_f1(answers, events), readable, right)


def record(
    name: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> None:
    """Record a number under a name: shown in the notebook, collected by ``smol run`` and quoted by every table.

    ``low`` and ``high`` are the ends of its 95 % interval, ``n`` the number of examples that it rests on. Raises
    ValueError for a value that is not a finite number, or a name not made of letters, digits and underscores.
    """
    from IPython.display import display

    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"record: {name!r} is not a name of letters, digits and underscores")
    given = {"value": value, "low": low, "high": high, "n": n, "seed": seed}
    kinds = {"n": int, "seed": int}
    # Plain numbers: the message to the notebook is JSON, which knows no numpy integers.
    numbers = {key: None if number is None else kinds.get(key, float)(number) for key, number in given.items()}
    if any(number is not None and not math.isfinite(number) for number in numbers.values()) or value is None:
        raise ValueError(f"record: {name} is not a finite number: {numbers}")
    span = f" ({numbers['low']:.3g} to {numbers['high']:.3g})" if low is not None and high is not None else ""
    size = f", n = {numbers['n']}" if n is not None else ""
    shown = f"{name} = {numbers['value']:.4g}{span}{size}"
    display({_RESULT: {"name": name, **numbers}, "text/plain": shown}, raw=True)


def watch(trainer: Any, *lines: str) -> None:
    """Let a trainer of transformers or TRL print one line each time it logs, instead of its dictionary.

    Of ``lines``, such as ``"step {step:3d}   loss {loss:.3f}"`` or ``"margin {rewards/margins:6.2f}"``, the first one
    whose names are all in the log is printed. ``step`` is the global step, every other name a float. A second call puts
    the model's trained weights and the trainer back to where they were at the first: so a cell that trains may be run
    twice. Raises ValueError for a line that does not fit such numbers.
    """
    from transformers import PrinterCallback

    names = {line: {name for _, name, _, _ in Formatter().parse(line) if name is not None} - {"step"} for line in lines}
    for line in lines:
        line.format_map(dict.fromkeys(names[line], 0.0) | {"step": 0})
    printer = PrinterCallback()
    printer.on_log = partial(_print_first, names)
    trainer.remove_callback(PrinterCallback)  # the library's, or that of an earlier call
    trainer.add_callback(printer)
    _from_the_start(trainer)


_STARTS: WeakKeyDictionary = WeakKeyDictionary()  # by model, then by kind of trainer: weights, and the trainer's counts


def _from_the_start(trainer: Any) -> None:
    if trainer.model is None:
        return
    weights = [weight.data for weight in trainer.model.parameters() if weight.requires_grad]
    starts = _STARTS.setdefault(trainer.model, {})
    begun, counts = starts.get(type(trainer), ((), {}))
    if [weight.shape for weight in weights] == [weight.shape for weight in begun]:
        for weight, start in zip(weights, begun, strict=True):
            weight.copy_(start)
        vars(trainer).update(counts, optimizer=None)
    else:
        counts = {name: count for name, count in vars(trainer).items() if type(count) in (int, float)}
        starts[type(trainer)] = [weight.to("cpu", copy=True) for weight in weights], counts


def _print_first(names: dict[str, set[str]], args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
    """Print the first line whose names are all in the log; ``names`` has those of each line, but for ``step``."""
    for line, needed in names.items():
        if needed <= (logs or {}).keys():
            numbers = {name: float(logs[name]) for name in needed}
            print(line.format_map(numbers | {"step": state.global_step}))
            return

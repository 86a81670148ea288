"""Recorded numbers as people say them: percent or a unit, the interval, how many, before and after."""

import re
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
_SHARE = re.compile(r"accuracy|share|(?<![a-z])(?<!learning_)rate(?![a-z])")
# What lies in 0 to 1 as well.
_NO_SHARE = re.compile(r"reward|score|loss|missing|nats|gain|gap|difference|times|f1|mrr")
_UNITS = {"seconds": "s", "minutes": "min", "ms": "ms", "kb": "kB", "mb": "MB", "gb": "GB"}


def duration(seconds: float) -> str:
    """Return a time as people say it: ``42 s``, ``2.4 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def memory(megabytes: float) -> str:
    """Return a size as people say it: ``420 MB``, ``1.9 GB``."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def costs(entries: dict[str, dict[str, Any]]) -> str:
    """Return what the notebooks of a run's state took together: their number, time and peak memory."""
    seconds, peaks = ([entry[key] for entry in entries.values()] for key in ("seconds", "peak_mb"))
    count = f"{len(entries)} notebook{'s' * (len(entries) != 1)}"
    return f"{count} in {duration(sum(seconds))}, at most {memory(max(peaks))} of memory"


def percent(share: float) -> str:
    """Return a share (0 to 1) in percent, without the sign."""
    return f"{100 * share:.0f}"


def is_share(record: Record) -> bool:
    """Whether a recorded number is a share: it lies in 0 to 1, and has an interval there or a name that says so."""
    ends = [record[key] for key in ("value", "low", "high") if record.get(key) is not None]
    if not all(-1e-9 <= end <= 1 + 1e-9 for end in ends) or _NO_SHARE.search(record["name"]):
        return False
    return len(ends) == 3 or bool(_SHARE.search(record["name"]))


def _form(record: Record) -> Any:
    """How its numbers are written, without a unit."""
    return percent if is_share(record) else lambda n: f"{n:,.0f}" if abs(n) >= 1000 else f"{n:.3g}"


def value(record: Record) -> str:
    """Return a recorded number with its unit: ``42 %``, ``68.2 s``, ``0.827``."""
    unit = "%" if is_share(record) else _UNITS.get(record["name"].rpartition("_")[2], "")
    return f"{_form(record)(record['value'])} {unit}".strip()


def interval(record: Record, form: Any = None) -> str:
    """Return its 95 % interval, as ``31 to 54``, or nothing if it has none."""
    form = form or _form(record)
    ends = [form(end) for key in ("low", "high") if (end := record.get(key)) is not None]
    return " to ".join(ends) if len(ends) == 2 else ""


@dataclass(frozen=True)
class Result:
    """What was measured, and its records: by ``before`` and ``after``, as far as they are there, or one by ``""``."""

    what: str
    records: dict[str, Record]

    @property
    def rank(self) -> tuple[int, int, bool, bool]:
        """The lower, the more it tells: both before and after come first, then what was measured after."""
        label, last = list(self.records.items())[-1]
        return -len(self.records), ["after", "", "before"].index(label), not is_share(last), not interval(last)

    @property
    def basis(self) -> str:
        """What the last number rests on: ``31 to 54 %, 64 messages``."""
        last = list(self.records.values())[-1]
        span = interval(last) and interval(last) + " %" * is_share(last)
        sizes = list(dict.fromkeys(str(r["n"]) for r in self.records.values() if r.get("n") is not None))
        several = "event" in self.what.lower() and len(sizes) == 1
        size = f"{sizes[0]} messages" if several else f"n = {' and '.join(sizes)}" if sizes else ""
        return ", ".join(part for part in (span, size) if part)

    def __str__(self) -> str:
        numbers = ", ".join(f"{value(record)} {label}".strip() for label, record in self.records.items())
        return f"{self.what}: {numbers}{f' ({self.basis})' if self.basis else ''}."


def results(records: list[Record]) -> list[Result]:
    """Return what a notebook's records say, the most telling first and otherwise in their order."""
    found: dict[tuple[str, bool], dict[str, Record]] = {}
    for record in sorted(records, key=lambda record: record["name"].startswith("after_")):
        label, _, rest = record["name"].partition("_")
        paired = label in ("before", "after") and rest
        found.setdefault((rest if paired else record["name"], bool(paired)), {})[label if paired else ""] = record
    return sorted((Result(_what(name), by_label) for (name, _), by_label in found.items()), key=lambda r: r.rank)


def _what(name: str) -> str:
    """The name as the beginning of a sentence; its unit stands with the number."""
    rest, _, unit = name.rpartition("_")
    text = (rest if rest and unit in _UNITS else name).replace("_", " ").replace("f1", "F1")
    return text[:1].upper() + text[1:]

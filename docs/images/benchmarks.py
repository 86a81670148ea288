"""Draw `benchmarks.svg` from the results files of the benchmarks: every ratio and share, on every machine measured.

`uv run python docs/images/benchmarks.py` writes it; a test fails when it is stale. Names and labels come from the
files, too.
"""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.files import write_text

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")
LEFT, WIDTH, ROW = 215, 250, 22  # where the bars begin, how long they may be, and from one to the next, in pixels


def svg(folder: Path = RESULTS) -> str:
    """Return the picture: a bar for each median, a line from the smallest to the largest. Raises CourseError."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    results = [result for result in results if result.get("ratios") or result.get("shares")]
    if not results:
        raise CourseError("There are no results to draw: run the benchmarks first, as benchmarks/README.md says.")
    machines = list(dict.fromkeys(result["machine"] for result in results))
    colours = {machine: COLOURS[place % len(COLOURS)] for place, machine in enumerate(machines)}
    body, y = [], 24
    for machine, colour in colours.items():
        body += [f'<rect x="10" y="{y - 13}" width="14" height="14" fill="{colour}"/>', text(32, y, machine)]
        y += ROW
    for name in dict.fromkeys(result["benchmark"] for result in results):
        mine = {result["machine"]: result for result in results if result["benchmark"] == name}
        y += ROW
        body.append(text(10, y, next(iter(mine.values()))["title"], 'font-size="17"'))
        for kind in ("ratios", "shares"):
            found = {machine: result[kind] for machine, result in mine.items() if result[kind]}
            if found:
                body += block(kind, found, colours, y + 14)
                y += 14 + ROW * (1 + sum(map(len, found.values())))
    return "\n".join([*head(y + 10), *body, "</svg>", ""])


def head(height: int) -> list[str]:
    """Return the lines that begin the picture."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" role="img"',
        'font-family="sans-serif" font-size="14">',
        "<title>What the benchmarks measured on each machine: the median, from the smallest to the largest.</title>",
    ]


def block(kind: str, found: dict[str, Any], colours: dict[str, str], y: int) -> Iterator[str]:
    """Yield the bars of one kind: by label, for each machine. A ratio of 1 is marked; shares have the whole width."""
    largest = max(spread["high"] for spreads in found.values() for spread in spreads.values())
    scale = WIDTH / (max(1.0, largest) if kind == "ratios" else 1.0)
    bars = sum(map(len, found.values()))
    if kind == "ratios":
        at = LEFT + scale
        yield f'<path d="M{at:.1f} {y + ROW - 4}v{bars * ROW}" stroke="#808080" stroke-dasharray="3 3"/>'
        yield text(at, y + 12, "1", 'text-anchor="middle"')
    else:
        yield text(LEFT, y + 12, "share of the machine's matrix rate")
    for label in dict.fromkeys(label for spreads in found.values() for label in spreads):
        yield text(LEFT - 10, y + ROW + 12, label, 'text-anchor="end"')
        for machine in [machine for machine, spreads in found.items() if label in spreads]:
            y += ROW
            yield from bar(found[machine][label], scale, colours[machine], y, "" if kind == "ratios" else " %")


def bar(spread: dict[str, float], scale: float, colour: str, y: int, unit: str) -> Iterator[str]:
    """Yield one bar, its line from the smallest to the largest, and both in numbers."""
    median, low, high = (spread[name] for name in ("median", "low", "high"))
    told = [f"{100 * value:.1f}" if unit else f"{value:.2f}" for value in (median, low, high)]
    yield f'<rect x="{LEFT}" y="{y}" width="{max(1, scale * median):.1f}" height="{ROW - 6}" fill="{colour}"/>'
    ends = f"M{LEFT + scale * low:.1f} {y + 8}H{LEFT + scale * high:.1f}"
    yield f'<path d="{ends}" stroke="#808080" stroke-width="3"/>'
    yield text(LEFT + scale * high + 8, y + 12, f"{told[0]}{unit} ({told[1]} to {told[2]})")


def text(x: float, y: int, words: str, more: str = "") -> str:
    """Return words at a place, in a grey that reads on white and on black."""
    return f'<text x="{x:.0f}" y="{y}" fill="#808080" {more}>{escape(words)}</text>'.replace(" >", ">")


if __name__ == "__main__":
    write_text(Path(__file__).with_suffix(".svg"), svg())

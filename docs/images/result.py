"""Draw `result.svg`, the README's picture, from the numbers recorded in module 1's notebook.

`uv run python docs/images/result.py` writes it; a test fails when it is stale.
"""

import json
from pathlib import Path

from smol_course.files import write_text

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "1_instruction_tuning" / "notebooks" / "supervised_fine_tuning.ipynb"
BARS = {
    "before_event_accuracy": ("asked", "#E69F00"),
    "few_shot_event_accuracy": ("shown three examples", "#56B4E9"),
    "after_event_accuracy": ("fine-tuned", "#0072B2"),
}


def svg() -> str:
    """Return the picture: one bar and 95 % interval for each way to get events out of the model (in percent)."""
    metadata = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"]
    results = {result["name"]: result for result in metadata["smol"]["results"]}
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 190" role="img"',
        'font-family="sans-serif" font-size="15">',
        "<title>Event accuracy in percent with its 95 % interval, before and after fine-tuning.</title>",
        '<text x="10" y="24" fill="#808080" font-size="17">Messages turned into the right event, 95 % interval</text>',
    ]
    for row, (name, (label, colour)) in enumerate(BARS.items()):
        value, low, high = (100 * results[name][key] for key in ("value", "low", "high"))
        told = f"{value:.0f} % (n = {results[name]['n']})"
        y = 48 + 44 * row
        lines += [
            f'<text x="180" y="{y + 19}" fill="#808080" text-anchor="end">{label}</text>',
            f'<rect x="190" y="{y}" width="{max(1, 4 * value):.0f}" height="28" fill="{colour}"/>',
            f'<path d="M{190 + 4 * low:.0f} {y + 14}H{190 + 4 * high:.0f}" stroke="#808080" stroke-width="3"/>',
            f'<text x="{200 + 4 * high:.0f}" y="{y + 19}" fill="#808080">{told}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    write_text(Path(__file__).with_suffix(".svg"), svg())

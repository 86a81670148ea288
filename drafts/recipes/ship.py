"""Make the small adapters that ship with the package, each by its own notebook with a longer training.

    uv run python -m recipes.ship organiser_lora

Runs the notebook in a folder of its own, copies what it saved to ``smol_course/artifacts/``, and adds to the
provenance how it was made and how well it did. `tests/test_artifacts.py` compares both with what ships.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from smol_course import runner
from smol_course.errors import CourseError
from smol_course.runner import building, kernel, show

SHIPPED = Path(__file__).resolve().parents[1] / "smol_course" / "artifacts"
# By the adapter's name: the notebook that makes it, and the parameters that differ from that notebook's own.
RECIPES: dict[str, dict[str, Any]] = {
    "organiser_lora": {
        "notebook": "3/lora",
        "parameters": {"steps": 460, "full_steps": 0, "test_messages": 0},
    },
}


def make(name: str, folder: Path, console: Console) -> dict[str, Any]:
    """Run a recipe's notebook in a folder; return its provenance, completed. The adapter is in ``folder/artifacts``.

    Raises CourseError if the notebook fails.
    """
    recipe = RECIPES[name]
    (notebook,) = runner.notebooks([recipe["notebook"]])
    node = kernel.inject(notebook.read(), recipe["parameters"])
    done = show.execute_watched(console, name, node, notebook.source.parent, kernel.environment(folder, hub=False))
    if done.failure:
        raise CourseError(f"{notebook.name} failed in cell {done.failure.cell}: {done.failure.message}")
    provenance = json.loads((folder / "artifacts" / name / "provenance.json").read_text(encoding="utf-8"))
    provenance |= recipe | {
        "sources_sha256": runner.sources_sha256(notebook),
        "seconds": round(done.seconds),
        "machine": building.machine(),
        "results": [result for result in done.results if result["name"].startswith("after_")],
    }
    return provenance


def main() -> None:
    """Make one adapter and put it where it ships."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    name = parser.parse_args().name
    with tempfile.TemporaryDirectory() as folder:
        provenance = make(name, Path(folder), Console())
        made = Path(folder) / "artifacts" / name
        (made / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8", newline="\n")
        draft = SHIPPED / f".{name}.tmp"
        shutil.copytree(made, draft, ignore=shutil.ignore_patterns("tokenizer*", "chat_template*", "special_tokens*"))
        shutil.rmtree(SHIPPED / name, ignore_errors=True)
        os.replace(draft, SHIPPED / name)
    for result in provenance["results"]:
        print(f"{result['name']} = {result['value']:.4g} (n = {result['n']})")


if __name__ == "__main__":
    main()

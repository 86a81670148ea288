"""Make the small adapters that ship with the package, and say in each one's provenance how well it does.

    uv run python -m recipes.ship organiser_lora

Runs the recipe (a notebook with other parameters, or a script beside this file) in a folder of its own and copies what
it saved to ``smol_course/artifacts/``. One may need another: `organiser_lora` comes first, then
`organiser_sft` (and from it `organiser_aligned`), `organiser_tools` and `organiser_code`. `tests/test_artifacts.py`
looks at what ships, and goes through one recipe in short.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from smol_course import runner
from smol_course.errors import CourseError
from smol_course.files import in_one_step, write_json
from smol_course.runner import building, kernel, running
from smol_course.runner.staleness import study_node

SHIPPED = Path(__file__).resolve().parents[1] / "smol_course" / "artifacts"
# By the adapter's name: the notebook that makes it with the parameters that differ from its own, or the script.
RECIPES: dict[str, dict[str, Any]] = {
    "organiser_lora": {
        "notebook": "3/lora",
        "parameters": {"steps": 300, "full_steps": 0, "test_messages": 1000},
    },
    "organiser_sft": {"script": "recipes/organiser_sft.py"},
    "organiser_aligned": {"notebook": "2/dpo", "parameters": {}},
    # What `python -m recipes.vlm` has done before in its own folder, on another machine even, is not done again.
    "organiser_vlm": {"script": "recipes/vlm.py"},
    "organiser_tools": {"script": "recipes/organiser_tools.py"},
    "organiser_code": {"script": "recipes/organiser_code.py"},
    "jotting_writer": {"script": "recipes/jotting_writer.py"},
}


def make(name: str, folder: Path, console: Console) -> dict[str, Any]:
    """Run a recipe in a folder; return its provenance, completed. The adapter is then in ``folder/artifacts``.

    Raises CourseError if the notebook or script fails.
    """
    recipe, started = RECIPES[name], time.monotonic()
    results = (_by_notebook if "notebook" in recipe else _by_script)(name, folder, console)
    provenance = json.loads((folder / "artifacts" / name / "provenance.json").read_text(encoding="utf-8"))
    return (
        provenance
        | recipe
        | {
            "seconds": provenance.get("training_seconds", round(time.monotonic() - started)),
            "machine": provenance.get("trained_on", building.machine()),
            "results": [result for result in results if result["name"].startswith("after_")],
        }
    )


def _by_notebook(name: str, folder: Path, console: Console) -> list[dict[str, Any]]:
    recipe = RECIPES[name]
    (notebook,) = runner.notebooks([recipe["notebook"]])
    node = kernel.inject(study_node(notebook), recipe["parameters"] | {"keep_as": name})
    done = running.executed(notebook, node, name, f"Stopped in {name}; nothing is kept.", folder, False, console)
    if done["failure"]:
        raise CourseError(f"{notebook.name} failed in cell {done['failure']['cell']}: {done['failure']['message']}")
    return done["results"]


def _by_script(name: str, folder: Path, console: Console) -> list[dict[str, Any]]:
    module = RECIPES[name]["script"].removesuffix(".py").replace("/", ".")
    file = folder / "results.json"
    command = [sys.executable, "-m", module, "--results", str(file)]
    if subprocess.run(command, env=kernel.environment(folder, hub=False), cwd=SHIPPED.parents[1]).returncode:
        raise CourseError(f"{module} failed; its last lines stand above.")
    return json.loads(file.read_text(encoding="utf-8"))


def main() -> None:
    """Make one adapter and put it where it ships."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    name = parser.parse_args().name
    with tempfile.TemporaryDirectory() as folder:
        provenance = make(name, Path(folder), Console())
        made = Path(folder) / "artifacts" / name
        write_json(made / "provenance.json", provenance)
        # The tokenizer is the base model's, which has it; the card that peft writes says nothing of ours.
        unneeded = ("tokenizer*", "chat_template*", "special_tokens*", "README.md")
        with in_one_step(SHIPPED / name) as draft:
            shutil.copytree(made, draft, ignore=shutil.ignore_patterns(*unneeded))
    for result in provenance["results"]:
        print(f"{result['name']} = {result['value']:.4g} (n = {result['n']})")


if __name__ == "__main__":
    main()

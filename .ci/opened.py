"""Fails where the newest `smol run` opened a file that a built notebook's list of opened files lacks.

The lists decide what makes outputs stale (docs/contributing.md), so after the full run they are held against it. An
artifact that an earlier notebook of the run made stands in for the shipped one, so a list may name more than was read.
"""

import json
import sys

from smol_course.runner import notebooks
from smol_course.runner.staleness import recorded
from smol_course.settings import repository


def missing() -> dict[str, list[str]]:
    """Return, by the notebook's name, the files that its newest run opened and its list lacks."""
    newest = max(repository().glob("runs/*/state.json"), key=lambda path: path.stat().st_mtime)
    ran = json.loads(newest.read_text(encoding="utf-8"))["notebooks"]
    return {
        notebook.name: sorted(set(ran[notebook.name]["opened"]) - set(recorded(notebook).get("opened", {})))
        for notebook in notebooks()
        if notebook.name in ran
    }


if __name__ == "__main__":
    lacking = {name: files for name, files in missing().items() if files}
    for name, files in lacking.items():
        print(f"{name} opened {', '.join(files)}, which its notebook does not list: `smol build {name} --fresh`.")
    sys.exit(bool(lacking))

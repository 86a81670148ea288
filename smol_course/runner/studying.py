"""``smol study``: the seeds, sweeps and controls behind a notebook's figures, each in a process of its own.

``N_module/studies/<topic>.py`` defines ``RUNS: dict[str, dict]``: for each run's name its ``parameters`` and, where the
run must fail, ``fails``: a piece of the message. The results go into the JSON file beside it after every run, so that
an interrupted study goes on where it stopped.
"""

import json
import runpy
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from smol_course.errors import CourseError
from smol_course.files import save_text
from smol_course.runner import building, show, staleness
from smol_course.runner.kernel import inject
from smol_course.runner.running import executed, kept_at, new_folder
from smol_course.runner.sources import Notebook, fit, one_notebook, parameters


def _runs(notebook: Notebook, only: str | None) -> dict[str, dict[str, Any]]:
    """The runs that the study defines, checked against the notebook's parameters."""
    if not notebook.study.is_file():
        raise CourseError(f"{notebook.name} has no study: {notebook.study.name} is not in studies/.")
    runs = runpy.run_path(str(notebook.study)).get("RUNS", {})
    defaults = parameters(notebook.read(), notebook.name)
    for name, run in runs.items():
        for key, value in run["parameters"].items():
            if key not in defaults:
                wrong = f"Run {name!r} sets {key!r}, which is no parameter of {notebook.name}"
                raise CourseError(f"{wrong}; it has: {', '.join(defaults) or 'none'}.")
            run["parameters"][key] = fit(key, value, defaults[key])
        run["defaults"] = {key: value for key, value in defaults.items() if key not in run["parameters"]}
    if only is not None and only not in runs:
        raise CourseError(f"The study of {notebook.name} has no run {only!r}; it has: {', '.join(runs)}.")
    return runs


def _surprise(run: dict[str, Any], failed: str | None) -> str | None:
    """What is wrong with the way a run ended, or None if it ended as expected."""
    ended, expected = f"failed with: {failed}" if failed else "did not", run.get("fails")
    if not expected:
        return ended if failed else None
    return None if failed and expected in failed else f"should have failed with {expected!r} and {ended}"


def study(target: str, only: str | None, hub: bool, console: Console) -> int:
    """Run one notebook's study, or ``only`` one run of it; return the exit status: 0, or 1 if one ended unexpectedly.

    Raises CourseError for an unknown target, run or parameter. KeyboardInterrupt passes through, after a word on it.
    """
    notebook = one_notebook(target)
    runs, sources = _runs(notebook, only), staleness.study_sha256(notebook)
    wanted, done = [only] if only else list(runs), {}
    with suppress(OSError, ValueError, KeyError):  # no results so far
        recorded = json.loads(notebook.study_results.read_text(encoding="utf-8"))
        if recorded["sources_sha256"] == sources:
            done = {name: entry for name, entry in recorded["runs"].items() if name in runs}
    before = [name for name in wanted if _is_done(runs[name], done.get(name), notebook.root)]
    if before:
        show.say(console, f"Done already with these sources: {', '.join(before)}.")
    folder, status = new_folder(f"study-{notebook.topic}"), 0
    for place, name in enumerate(wanted, start=1):
        if name in before:
            continue
        run = {key: runs[name][key] for key in ("parameters", "defaults")}
        node = inject(staleness.study_node(notebook), run["parameters"])
        (folder / name).mkdir(parents=True)
        stopped = f"Stopped in {name}; {len(done)} of {len(runs)} runs are kept. The same command goes on."
        entry = executed(notebook, node, f"{place}/{len(wanted)} {name}", stopped, folder / name, hub, console)
        failure = entry.pop("failure")
        done[name] = run | entry | {"failed": failure and failure["message"]}
        study = {
            "sources_sha256": sources,
            "requirements_sha256": staleness.requirements_sha256(notebook.root),
            "package": staleness.package_of(notebook, staleness.study_node(notebook)),
            "machine": building.machine(),
            "runs": {known: done[known] for known in runs if known in done},
        }
        save_text(notebook.study_results, json.dumps(study, indent=1, ensure_ascii=False) + "\n")
        kept = kept_at(folder / name, notebook).replace(folder / f"{name}.ipynb")
        shutil.rmtree(folder / name, ignore_errors=True)  # a trained model is half a gigabyte: numbers are kept
        if surprise := _surprise(runs[name], done[name]["failed"]):
            status = 1
            show.say(console, f"{name} {surprise}: {kept}")
    show.show_results(console, {name: entry["results"] for name, entry in done.items()})
    show.say(console, f"Results: {notebook.study_results}")
    if not status:
        shutil.rmtree(folder, ignore_errors=True)
    return status


def _is_done(run: dict[str, Any], entry: dict[str, Any] | None, root: Path) -> bool:
    wanted = json.loads(json.dumps(run["defaults"] | run["parameters"]))
    return not staleness.stale_run(entry, wanted, root) and not _surprise(run, entry["failed"])

"""``smol run``: execute notebooks into a run folder, resume after an interruption, and report.

A run folder, ``runs/<time>-<targets>/``, contains the executed notebooks, what the notebooks save, ``state.json`` (what
was asked for and what is done) and ``report.html``. It never touches a learner's notebook.
"""

import json
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock
from nbformat import NotebookNode
from rich.console import Console

from smol_course.errors import CourseError
from smol_course.files import save_text, writing
from smol_course.runner import show, words
from smol_course.runner.clean import strip_residue
from smol_course.runner.kernel import environment, execute, forked_kernels, inject
from smol_course.runner.report import write_report
from smol_course.runner.sources import Notebook, notebooks, read_ipynb, settings_for
from smol_course.runner.staleness import changed_files, opened_hashes, sources_sha256
from smol_course.settings import hub_allowed, repository


def new_folder(label: str) -> Path:
    """Make and return a new run folder, ``runs/<time>-<label>``. Raises CourseError if that is not possible."""
    runs = repository() / "runs"
    with writing(str(runs), "free space or mend it"):
        runs.mkdir(exist_ok=True)
        while True:
            folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"
            with suppress(FileExistsError):  # another of this second: wait for the next one
                folder.mkdir()
                return folder
            time.sleep(0.1)


def label(targets: list[str]) -> str:
    """Return the part of a run folder's name that says what was asked for."""
    names = [notebook.name for notebook in notebooks(targets)] if len(targets) == 1 and "." in targets[0] else targets
    return "+".join(name.strip("/").replace("/", "-").replace("\\", "-") for name in names)[:60] or "all"


def _held(folder: Path) -> FileLock | None:
    """The run folder's lock, taken; None if another process is at work in it, or it cannot be written."""
    lock = FileLock(folder / ".lock")
    with suppress(OSError):
        lock.acquire(timeout=0)
    return lock if lock.is_locked else None


def _unfinished(request: dict[str, Any]) -> tuple[Path, dict[str, Any], FileLock] | None:
    """The newest run of the same request that is not finished and that nobody is at work in."""
    for path in sorted((repository() / "runs").glob("*/state.json"), reverse=True):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            same = state["request"] == request and not state["finished"]
            kept = {name: entry for name, entry in state["notebooks"].items() if same and _is_whole(entry, path.parent)}
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
            continue
        if same and (lock := _held(path.parent)):
            return path.parent, {**state, "notebooks": kept}, lock
    return None


def _is_whole(entry: Any, folder: Path) -> bool:
    """Whether a notebook is done, and its entry and its file are such that a report can be made from them."""
    try:
        read_ipynb(folder / entry["executed"])
        # Neither takes anything else than texts and numbers.
        "".join([entry["status"], entry["sources_sha256"], *(result["name"] for result in entry["results"])])
        sum([entry["seconds"], entry["peak_mb"], *(result["value"] for result in entry["results"])])
    except (CourseError, KeyError, TypeError):
        return False
    return entry["status"] == "done" and isinstance(entry.get("opened"), dict)


def _done_before(chosen: list[Notebook], state: dict[str, Any]) -> list[str]:
    """The names of the notebooks that ran without failing and whose sources are still the same."""
    done = [(notebook, state["notebooks"][notebook.name]) for notebook in chosen if notebook.name in state["notebooks"]]
    same = [(notebook, entry) for notebook, entry in done if entry["sources_sha256"] == sources_sha256(notebook)]
    return [notebook.name for notebook, entry in same if not changed_files(entry.get("opened", {}), notebook.root)]


def executed(
    notebook: Notebook, node: NotebookNode, title: str, stopped: str, folder: Path, hub: bool, console: Console
) -> dict[str, Any]:
    """Execute a notebook's cells in the run folder and return costs, results, the files opened, and how it failed.

    They are saved as `kept_at` says, as far as they got. An interruption is said by ``stopped``, and passes through.
    """
    try:
        with show.watching(console, title, node) as on_cell:
            done = execute(node, notebook.source.parent, environment(folder, hub), on_cell, root=notebook.root)
    except KeyboardInterrupt:
        show.say(console, stopped)
        raise
    finally:
        save_text(kept_at(folder, notebook), nbformat.writes(strip_residue(node)))
    if not done.failure:
        show.say(console, f"{title}: done in {words.duration(done.seconds)}, at most {words.memory(done.peak_mb)}")
    return {
        "opened": opened_hashes(done.opened, notebook.root),
        "seconds": round(done.seconds, 1),
        "peak_mb": done.peak_mb,
        "results": done.results,
        "failure": done.failure and asdict(done.failure),
    }


def kept_at(folder: Path, notebook: Notebook) -> Path:
    """Return where a run folder contains the notebook as it ran."""
    return folder / f"{notebook.name.replace('/', '-')}.ipynb"


def run(targets: list[str], given: list[str], hub: bool, fresh: bool, console: Console) -> int:
    """Run the notebooks that the targets name and return the exit status: 0, or 1 if one failed.

    ``given`` are the ``name=value`` texts of ``--set``; ``fresh`` does not resume. Raises CourseError for an unknown
    target or parameter, before anything runs; KeyboardInterrupt passes through, when it is said what is kept.
    """
    chosen = notebooks(targets)
    values = settings_for(chosen, given)
    request = json.loads(json.dumps({"parameters": values, "hub": hub or hub_allowed()}))
    if fresh or not (unfinished := _unfinished(request)):
        folder = new_folder(label(targets))
        unfinished = folder, {"request": request, "finished": False, "notebooks": {}}, _held(folder)
    folder, state, lock = unfinished
    try:
        with forked_kernels() if len(chosen) > 1 else nullcontext():
            return _run_all(chosen, values, folder, state, console)
    finally:
        lock.release()


def _run_all(chosen: list[Notebook], values: dict, folder: Path, state: dict[str, Any], console: Console) -> int:
    entries, hub = state["notebooks"], state["request"]["hub"]
    if before := _done_before(chosen, state):
        again = "the same command with --fresh runs them again"
        show.say(console, f"Going on in {folder.name}: {', '.join(before)} done already ({again}).")
    for place, notebook in enumerate(chosen, start=1):
        if notebook.name in before:
            continue
        _save(folder, state)
        node, sources = inject(notebook.read(), values[notebook.name]), sources_sha256(notebook)
        kept = f"{len(entries)} of {len(chosen)} notebooks are done and kept"
        stopped = f"Stopped in {notebook.name}; {kept}.\nThe same command (without --fresh) goes on from here."
        title = f"{place}/{len(chosen)} {notebook.name}"
        entry = executed(notebook, node, title, stopped, folder, hub, console)
        entry |= {"sources_sha256": sources, "status": "failed" if entry["failure"] else "done"}
        entries[notebook.name] = entry | {"executed": kept_at(folder, notebook).name}
        if entry["failure"]:
            break
    else:
        state["finished"] = True
    state["notebooks"] = {notebook.name: entries[notebook.name] for notebook in chosen if notebook.name in entries}
    _save(folder, state)
    _conclude(folder, chosen, state, console)
    return int(not state["finished"])


def _save(folder: Path, state: dict[str, Any]) -> None:
    save_text(folder / "state.json", json.dumps(state, indent=1, ensure_ascii=False) + "\n")


def _conclude(folder: Path, chosen: list[Notebook], state: dict[str, Any], console: Console) -> None:
    """Say what failed, what came out, what it took and where to look next; the report has the rest."""
    entries, last = state["notebooks"], chosen[-1]
    failed = {name: entry for name, entry in entries.items() if entry["status"] == "failed"}
    title = last.name if len(chosen) == 1 else f"{len(chosen)} notebooks"
    report = write_report(folder, f"smol-course: {title}", chosen, state)
    for name, entry in failed.items():
        show.say(console, "")
        show.show_failure(console, name, entry["failure"], folder / entry["executed"])
    show.say(console, "")
    show.show_results(console, {name: entry["results"] for name, entry in entries.items() if name not in failed})
    show.say(console, f"\n{words.costs(entries)}.\nReport: {report}")
    if failed:
        show.fold(console, "When that is mended, the same command goes on from here.")
        return
    place = f"{last.ipynb.name} in {last.ipynb.parent.relative_to(last.root)}"
    show.fold(console, f"Beside it stand the notebooks as they ran, the last as {entries[last.name]['executed']}.")
    show.fold(console, f"Next: the exercises at the end of {place}. `smol check {last.name}` checks them.")
    show.fold(console, "`smol progress` shows the path, and what you have solved.")

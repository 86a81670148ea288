"""The few settings that every part of the package reads; nothing here imports another part."""

import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import platformdirs

from smol_course.errors import CourseError


def hub_allowed() -> bool:
    """Say whether the learner allows the Hugging Face Hub. Raises CourseError for a SMOL_HUB of neither yes nor no."""
    wish = os.environ.get("SMOL_HUB", "").strip().lower()
    if wish in {"1", "true", "yes", "on"}:
        return True
    if wish in {"", "0", "false", "no", "off"}:
        return False
    raise CourseError(f"SMOL_HUB={wish} is neither yes nor no: set it to 1 or to 0, or unset it.")


def run_folder() -> Path | None:
    """Return the folder of the ``smol run`` that executes this notebook, or None in Jupyter."""
    return _folder("SMOL_RUN", "") if os.environ.get("SMOL_RUN") else None


def cache_folder() -> Path:
    """Return the folder for what can be made again (converted models); ``SMOL_CACHE`` moves it."""
    return _folder("SMOL_CACHE", platformdirs.user_cache_dir("smol-course", appauthor=False))


def data_folder() -> Path:
    """Return the folder for what the learner made (progress, artifacts); ``SMOL_DATA`` moves it."""
    return _folder("SMOL_DATA", platformdirs.user_data_dir("smol-course", appauthor=False))


def _folder(setting: str, usual: str) -> Path:
    """The folder that a setting names. A relative one is refused: shell and notebooks would each have their own."""
    folder = Path(os.environ.get(setting, "").strip() or usual)
    try:
        folder = folder.expanduser()
        there = next(place for place in (folder, *folder.parents) if place.exists())
        wrong = "" if there.is_dir() else f"{there} is a file"
        wrong = wrong if folder.is_absolute() else "it is not a whole path"
    except (OSError, RuntimeError) as error:  # no such user's home, a folder that may not be entered
        wrong = f"{error}".rstrip(".")
    if wrong:
        raise CourseError(f"{folder} cannot be used ({wrong}): set {setting} to the whole path of a folder.")
    return folder


def bounded(seconds: float, work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns. Raises what it raises, or TimeoutError: then it is left to itself."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result(seconds)


def repository() -> Path:
    """Return the course's folder, at or above the current one or else around the package. Raises CourseError."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "1_instruction_tuning").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    where = "go to the folder you cloned, which contains 1_instruction_tuning"
    raise CourseError(f"The course's notebooks are not here: {where}.")


def course_files(pattern: str) -> list[Path]:
    """Return the repository's files, or else those of the installed package, that fit ``[0-9]*_*/*.md``, in order."""
    with suppress(CourseError):  # an installed package has no repository around it
        if found := sorted(repository().glob(pattern)):
            return found
    return sorted((Path(__file__).parent / "modules").glob(pattern))


@cache
def address() -> str:
    """Return the project's address, which stands in pyproject.toml and nowhere else."""
    with suppress(metadata.PackageNotFoundError):
        urls = metadata.metadata("smol-course").get_all("Project-URL")
        return dict(line.split(", ", 1) for line in urls)["Repository"]
    raise CourseError("smol-course is not installed: run `uv sync` in the course's folder.")

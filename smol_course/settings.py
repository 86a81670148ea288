"""The few settings that every part of the package reads; nothing here imports another part."""

import os
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import platformdirs

from smol_course.errors import CourseError


def hub_allowed() -> bool:
    """Say whether the learner allows downloads from the Hugging Face Hub (``SMOL_HUB=1``, or ``smol run --hub``)."""
    return os.environ.get("SMOL_HUB", "0").lower() in {"1", "true", "yes"}


def run_folder() -> Path | None:
    """Return the folder of the ``smol run`` that executes this notebook, or None in Jupyter."""
    folder = os.environ.get("SMOL_RUN")
    return Path(folder) if folder else None


def cache_folder() -> Path:
    """Return the folder for what can be made again (converted models); ``SMOL_CACHE`` moves it."""
    return Path(os.environ.get("SMOL_CACHE") or platformdirs.user_cache_dir("smol-course", appauthor=False))


def data_folder() -> Path:
    """Return the folder for what the learner made (progress, artifacts); ``SMOL_DATA`` moves it."""
    return Path(os.environ.get("SMOL_DATA") or platformdirs.user_data_dir("smol-course", appauthor=False))


def repository() -> Path:
    """Return the course's folder: the first one at or above the current folder, else around the package.

    Raises CourseError where neither contains the numbered modules.
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "1_instruction_tuning").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise CourseError(
        "The course's notebooks are not here: go to the folder you cloned, which contains 1_instruction_tuning."
    )


def course_files(pattern: str) -> list[Path]:
    """Return the files of the modules that fit a pattern such as ``[0-9]*_*/*.md``, in order.

    They are the repository's; where it has none, those that the installed package carries.
    """
    found: list[Path] = []
    with suppress(CourseError):  # an installed package has no repository around it
        found = sorted(repository().glob(pattern))
    return found or sorted((Path(__file__).parent / "modules").glob(pattern))


@cache
def address() -> str:
    """Return the project's address, which stands in pyproject.toml and nowhere else."""
    for line in metadata.metadata("smol-course").get_all("Project-URL") or []:
        label, url = line.split(", ", 1)
        if label == "Repository":
            return url
    raise CourseError("smol-course is not installed: run `uv sync` in the course's folder.")

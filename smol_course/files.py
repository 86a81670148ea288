"""Files and folders: written in one step, so that an interruption never leaves half of one, and hashed."""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from smol_course.errors import CourseError


@contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Yield a draft beside the path, to be made as a file or a folder; at the end it takes the path's place.

    When the block raises, the draft goes and the path stays as it was. Drafts of processes that are gone go first.
    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _tidy(path)
    draft = _beside(path, "tmp")
    try:
        yield draft
        if draft.is_dir():
            _swap(draft, path)
        else:
            os.replace(draft, path)
    finally:
        _remove(draft)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


def _tidy(path: Path) -> None:
    """Remove the drafts that this process, or one that is gone, left beside the path."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if number.isdecimal() and (int(number) == os.getpid() or not psutil.pid_exists(int(number))):
            _remove(left)


def _swap(draft: Path, folder: Path) -> None:
    """Move a finished folder to its place; what was there goes, or comes back when that fails."""
    old = _beside(folder, "old")
    _remove(old)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(draft, folder)
    except BaseException:
        if old.exists():
            os.replace(old, folder)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: UTF-8, Unix line ends. Raises OSError."""
    with in_one_step(path) as draft:
        with draft.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())  # on disk before it takes the old one's place


def save_text(path: Path, text: str) -> None:
    """Write a text file in one step, as `write_text` does. Raises CourseError where that is not possible."""
    with writing(str(path)):
        write_text(path, text)


def write_json(path: Path, content: object, indent: int = 2) -> None:
    """Write a JSON file in one step. Raises OSError."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


@contextmanager
def writing(what: str, advice: str = "mend that and try again") -> Iterator[None]:
    """Turn an OSError of the block into a CourseError: what cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise CourseError(f"{what} cannot be written ({error.strerror or error}): {advice}.") from error


def sha256_of(files: Iterable[Path]) -> str:
    """Return the hash of the files' bytes, one after the other. Raises OSError."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def weight_files(folder: str | Path) -> list[Path]:
    """Return a model's or an adapter's safetensors files in order; [] where the folder is not at hand."""
    return sorted(Path(folder).glob("*.safetensors"))

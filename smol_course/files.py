"""Files and folders: written in one step, so that an interruption never leaves half of one, and hashed."""

import glob
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from smol_course.errors import CourseError


def record_opened(root: Path, log: Path) -> None:
    """Write into the log which files below the root this process opens from now on, as lines ``r path`` or ``w path``.

    Python's sources and folders such as ``.venv`` do not count; what a child process or native code opens is not seen.
    """
    known: set[str] = set()
    stream, prefix = log.open("a", encoding="utf-8", buffering=1), os.path.join(root, "")

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        name = path.removeprefix(prefix).replace(os.sep, "/")
        if not path.startswith(prefix) or name.startswith(".") or name.endswith((".py", ".pyc")):
            return
        mode, flags = arguments[1:]
        writes = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
        line = f"{'w' if writes else 'r'} {name}\n"
        if line not in known:
            known.add(line)
            stream.write(line)

    sys.addaudithook(note)


def read_opened(log: Path) -> list[str]:
    """Return the files that such a log names as read; those that the process wrote itself are left out."""
    lines = log.read_text(encoding="utf-8").splitlines()
    written = {line[2:] for line in lines if line[0] == "w"}
    return [line[2:] for line in lines if line[0] == "r" and line[2:] not in written]


@contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Yield a draft beside the path, to be made as a file or a folder; at the end it takes the path's place.

    When the block raises, the path stays as it was. Drafts of processes that are gone go first. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if number.isdecimal() and (int(number) == os.getpid() or not psutil.pid_exists(int(number))):
            _remove(left)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        _swap(draft, path)
    finally:
        _remove(draft)


def _swap(draft: Path, path: Path) -> None:
    """Move what is finished to its place; a folder that was there goes, or comes back when that fails."""
    old = draft.with_suffix(".old")
    _remove(old)
    if draft.is_dir() and path.exists():
        os.replace(path, old)
    try:
        os.replace(draft, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: UTF-8, Unix line ends. Raises OSError."""
    with in_one_step(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as stream:
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
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def weight_files(folder: str | Path) -> list[Path]:
    """Return a model's or an adapter's safetensors files in order; [] where the folder is not at hand."""
    return sorted(Path(folder).glob("*.safetensors"))

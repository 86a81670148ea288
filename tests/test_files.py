"""Files written in one step: an interruption leaves the old content and no draft, and errors are one sentence."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from smol_course import files
from smol_course.errors import CourseError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails(error: BaseException) -> Any:
    """A function that raises, whatever it is given."""

    def raising(*_: object, **__: object) -> None:
        raise error

    return raising


# --- One file -----------------------------------------------------------------------------------------------


def test_a_text_is_utf_8_with_unix_line_ends_wherever_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "note.txt"
    files.write_text(path, "Zoë 🐢\nat noon\n")
    assert path.read_bytes() == "Zoë 🐢\nat noon\n".encode()
    files.write_text(path, "shorter\n")
    assert path.read_bytes() == b"shorter\n" and names(path.parent) == ["note.txt"]


def test_json_is_readable_and_ends_its_line(tmp_path: Path) -> None:
    files.write_json(tmp_path / "it.json", {"who": "Zoë", "at": [1]}, indent=1)
    text = (tmp_path / "it.json").read_text(encoding="utf-8")
    assert text == '{\n "who": "Zoë",\n "at": [\n  1\n ]\n}\n' and json.loads(text)["at"] == [1]


@pytest.mark.parametrize("raised", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, raised: BaseException
) -> None:
    path = tmp_path / "progress.json"
    files.write_text(path, "old\n")
    monkeypatch.setattr(files.os, at, fails(raised))
    with pytest.raises(type(raised)):
        files.write_text(path, "new\n")
    assert path.read_text() == "old\n" and names(tmp_path) == ["progress.json"]


def test_what_is_no_text_leaves_the_old_content_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    files.write_text(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "new " * 99_999 + "\ud800")
    with pytest.raises(TypeError):
        files.write_json(path, object())
    assert path.read_text() == "old\n" and names(tmp_path) == ["note.txt"]


def test_the_bytes_are_on_disk_before_they_take_the_old_one_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, bytes]] = []
    (replace, path) = (os.replace, tmp_path / "note.txt")

    def synced(number: int) -> None:
        (draft,) = tmp_path.glob(".*.tmp")
        done.append(("fsync", draft.read_bytes()))

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(files.os, "replace", lambda *both: done.append(("replace", b"")) or replace(*both))
    files.write_text(path, "new\n")
    assert done == [("fsync", b"new\n"), ("replace", b"")], "a power cut between the two must not leave an empty file"


def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    files.write_text(path, "old\n")
    with files.in_one_step(path) as draft:
        draft.write_text("ne")
        assert path.read_text() == "old\n" and draft.parent == path.parent, "a move between two disks is no one step"
        draft.write_text("new\n")
    assert path.read_text() == "new\n"


# --- A folder -----------------------------------------------------------------------------------------------


def made(folder: Path, text: str) -> None:
    with files.in_one_step(folder) as draft:
        (draft / "deep").mkdir(parents=True)
        (draft / "deep" / "file").write_text(text)


def test_a_folder_takes_the_old_one_s_place(tmp_path: Path) -> None:
    for text in ("old", "new"):
        made(tmp_path / "model", text)
        (tmp_path / "model" / f"only in {text}").touch()
    assert (tmp_path / "model" / "deep" / "file").read_text() == "new"
    assert names(tmp_path / "model") == ["deep", "only in new"] and names(tmp_path) == ["model"]


@pytest.mark.parametrize("raised", [ValueError("truncated"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_the_old_folder_stays_when_the_block_raises(tmp_path: Path, raised: BaseException) -> None:
    made(tmp_path / "model", "old")
    with pytest.raises(type(raised)), files.in_one_step(tmp_path / "model") as draft:
        draft.mkdir()
        (draft / "half").write_text("new")
        raise raised
    assert (tmp_path / "model" / "deep" / "file").read_text() == "old" and names(tmp_path) == ["model"]


@pytest.mark.parametrize("nth", [1, 2])
def test_the_old_folder_stays_when_it_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """As on Windows, where a file that is open keeps its folder in place: at the first of two moves, or the second."""
    made(tmp_path / "model", "old")
    moves, replace = [], os.replace

    def sometimes(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == nth:
            raise PermissionError(errno.EACCES, "in use")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", sometimes)
    with pytest.raises(PermissionError):
        made(tmp_path / "model", "new")
    assert (tmp_path / "model" / "deep" / "file").read_text() == "old" and names(tmp_path) == ["model"]


# --- What others left ---------------------------------------------------------------------------------------


def test_a_killed_process_leaves_the_old_content_and_its_draft_goes_at_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "model"
    made(path, "old")
    code = f"""
        import os
        from pathlib import Path
        from smol_course import files
        with files.in_one_step(Path({str(path)!r})) as draft:
            draft.mkdir()
            (draft / "half").write_text("new")
            os._exit(9)  # as a kill: nothing is tidied up
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == 9
    assert (path / "deep" / "file").read_text() == "old" and len(names(tmp_path)) == 2
    made(path, "new")
    assert (path / "deep" / "file").read_text() == "new" and names(tmp_path) == ["model"]


def test_other_files_and_the_drafts_of_those_who_still_write_stay(tmp_path: Path) -> None:
    own, living, gone = os.getpid(), os.getppid(), 4194305  # no process has this number
    others = [f".a.json.{living}.tmp", f".b.json.{gone}.tmp", ".a.json.tmp", ".a.json.x.tmp", f"a.json.{gone}.tmp"]
    for name in (*others, f".a.json.{own}.tmp", f".a.json.{gone}.tmp"):
        (tmp_path / name).write_text("half")
    files.write_text(tmp_path / "a.json", "{}\n")
    assert names(tmp_path) == sorted([*others, "a.json"])


def test_nothing_of_an_earlier_draft_gets_into_the_folder(tmp_path: Path) -> None:
    """A process number comes again: what one of the same number left is not this one's draft."""
    left = tmp_path / f".model.{os.getpid()}.tmp"
    left.mkdir()
    (left / "stray").touch()
    with files.in_one_step(tmp_path / "model") as draft:
        draft.mkdir()
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == []


def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    for name in (".[ab].4194305.tmp", ".a.4194305.tmp"):
        (tmp_path / name).write_text("half")
    files.write_text(tmp_path / "[ab]", "whole\n")
    assert names(tmp_path) == sorted(["[ab]", ".a.4194305.tmp"])


# --- Errors -------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("a file")
    with pytest.raises(CourseError) as caught:
        files.save_text(tmp_path / "in_the_way" / "note.txt", "new\n")
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "in_the_way" / "note.txt")) and "cannot be written (" in message
    assert message.endswith(": mend that and try again.") and "\n" not in message
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_is_one_sentence_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "fsync", fails(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(CourseError) as caught, files.writing("The model", "free some disk"):
        files.write_text(tmp_path / "model", "new\n")
    assert str(caught.value) == "The model cannot be written (No space left on device): free some disk."
    with pytest.raises(CourseError, match=r"^It cannot be written \(odd\): mend that"), files.writing("It"):
        raise OSError("odd")  # without a number


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), files.writing("It"):
        raise ZeroDivisionError
    with files.writing("It"):
        pass


# --- Hashes -------------------------------------------------------------------------------------------------


def test_the_hash_is_of_all_bytes_in_order(tmp_path: Path) -> None:
    parts = [b"a" * (3 << 20), b"", b"end"]  # longer than what is read at once
    paths = [tmp_path / str(number) for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    assert files.sha256_of(paths) == hashlib.sha256(b"".join(parts)).hexdigest()
    assert files.sha256_of(paths) != files.sha256_of(reversed(paths))
    with pytest.raises(FileNotFoundError):
        files.sha256_of([tmp_path / "none"])


def test_weight_files_are_found_in_order(tmp_path: Path) -> None:
    for name in ("model-2.safetensors", "model-1.safetensors", "config.json"):
        (tmp_path / name).touch()
    assert [path.name for path in files.weight_files(tmp_path)] == ["model-1.safetensors", "model-2.safetensors"]
    assert files.weight_files(str(tmp_path)) == files.weight_files(tmp_path)
    assert files.weight_files("someone/some-model") == files.weight_files(tmp_path / "config.json") == []

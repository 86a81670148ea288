"""What the settings promise: one place and one meaning for each, and one sentence for a value that has none."""

import time
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from smol_course import settings
from smol_course.errors import CourseError
from smol_course.runner import kernel


def sentence(call) -> str:
    """The one sentence of the CourseError that the call raises."""
    with pytest.raises(CourseError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text and text.endswith("."), text
    return text


@pytest.mark.parametrize("wish", ["1", "1 ", " Yes", "on", "TRUE", "true\n"])
def test_the_hub_is_allowed_by_each_way_to_say_yes(monkeypatch, wish):
    monkeypatch.setenv("SMOL_HUB", wish)
    assert settings.hub_allowed() is True


@pytest.mark.parametrize("wish", ["0", "", " ", "off", "No ", "false", None])
def test_the_hub_is_not_allowed_by_each_way_to_say_no(monkeypatch, wish):
    monkeypatch.setenv("SMOL_HUB", wish) if wish is not None else monkeypatch.delenv("SMOL_HUB", raising=False)
    assert settings.hub_allowed() is False


@pytest.mark.parametrize("wish", ["2", "perhaps", "1,", "yes please"])
def test_neither_yes_nor_no_is_said(monkeypatch, wish):
    monkeypatch.setenv("SMOL_HUB", wish)
    assert f"SMOL_HUB={wish} is neither yes nor no" in sentence(settings.hub_allowed)


FOLDERS = [("SMOL_CACHE", settings.cache_folder), ("SMOL_DATA", settings.data_folder)]


@pytest.mark.parametrize(("setting", "folder"), FOLDERS)
def test_a_folder_is_the_same_wherever_it_is_asked_for(monkeypatch, tmp_path, setting, folder):
    for given in (tmp_path / "made later" / "deep", tmp_path):
        monkeypatch.setenv(setting, f" {given} ")
        assert folder() == given
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(setting, "~/mine")
    assert folder() == tmp_path / "mine"
    monkeypatch.delenv(setting)
    usual = folder()
    for nothing in ("", "  "):
        monkeypatch.setenv(setting, nothing)
        assert folder() == usual and usual.is_absolute()


@pytest.mark.parametrize(("setting", "folder"), [*FOLDERS, ("SMOL_RUN", settings.run_folder)])
def test_a_folder_that_is_no_one_place_is_one_sentence(monkeypatch, tmp_path, setting, folder):
    (tmp_path / "file").write_text("mine")
    there = {"cache": "whole path", "./a/b": "whole path", "..": "whole path", "~nobody-here/x": "home"}
    there |= {
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "file" / "below"): "is a file",
        "/" + "x" * 5000: "long",
    }
    for given, said in there.items():
        monkeypatch.setenv(setting, given)
        text = sentence(folder)
        assert setting in text and said in text, text
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("setting", "folder"), FOLDERS)
def test_an_odd_folder_is_said_before_a_kernel_starts(monkeypatch, tmp_path, setting, folder):
    monkeypatch.setenv(setting, "relative")
    assert setting in sentence(lambda: kernel.environment(None, False))
    monkeypatch.setenv(setting, f" {tmp_path}")
    assert kernel.environment(None, False)[setting] == str(tmp_path)


def test_no_run_is_no_folder(monkeypatch):
    for nothing in ("", None):
        monkeypatch.setenv("SMOL_RUN", nothing) if nothing is not None else monkeypatch.delenv("SMOL_RUN")
        assert settings.run_folder() is None


def test_work_is_bounded():
    assert settings.bounded(5, lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        settings.bounded(5, lambda: 1 / 0)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        settings.bounded(0.05, lambda: time.sleep(3))
    assert time.monotonic() - start < 2


def test_a_mistake_that_can_be_mended_is_one_sentence_in_a_notebook(tmp_path: Path):
    cells = [
        "from smol_course.models import find_model\n\ndef load(name):\n    return find_model(name)",
        "name = './my_modle'\nprint(name)\n\nload(name)  # here",
    ]
    node = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    done = kernel.execute(node, tmp_path, kernel.environment(None, False))
    assert done.failure and (done.failure.cell, done.failure.line) == (2, "load(name)  # here")
    assert done.failure.message.startswith("CourseError: There is no folder './my_modle': ")
    shown = node.cells[1].outputs[-1].traceback
    assert shown == ["Cell In[2], line 4", done.failure.message], "one sentence and its place"


def test_outside_a_notebook_the_sentence_stands_alone():
    assert CourseError("It is so.")._render_traceback_() == ["CourseError: It is so."]

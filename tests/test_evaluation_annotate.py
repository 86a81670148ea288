"""The labels that a person makes: kept at once, found again, never mixed up, never overwritten when damaged."""

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
from smol_course.evaluation import annotate
from smol_course.evaluation.annotate import Annotator

PAIRS = [{"id": f"p{n}", "question": f"Event {n}?", "texts": [f"plain {n}", f"flattering {n}"]} for n in range(6)]
THUMBS = [{"id": f"t{n}", "question": "Good?", "texts": [f"<b>{n}</b>"]} for n in range(3)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the learner's data; no run."""
    monkeypatch.setenv("SMOL_DATA", str(tmp_path))
    monkeypatch.delenv("SMOL_RUN", raising=False)
    return tmp_path


def better(annotator: Annotator, text: str) -> None:
    """Say that this text, wherever it stands on the screen, is the better one."""
    annotator.label(str(annotator.current()["texts"].index(text) + 1))


# --- Labelling ----------------------------------------------------------------------------------------------


def test_a_pair_label_means_the_text_and_not_its_place_on_the_screen():
    pairs = Annotator("pairs", PAIRS)
    for item in PAIRS:
        better(pairs, item["texts"][0])
    assert pairs.labels() == {item["id"]: "0" for item in PAIRS}
    assert pairs.current() is None
    pairs.label("1")  # nothing is left: nothing happens
    assert len(pairs.labels()) == len(PAIRS)


def test_both_orders_occur_and_are_the_same_in_every_session():
    orders = [annotate._order(item) for item in Annotator("pairs", PAIRS).items]
    assert [0, 1] in orders and [1, 0] in orders
    assert orders == [annotate._order(item) for item in Annotator("pairs", PAIRS).items]


def test_thumbs_ties_and_skips():
    thumbs = Annotator("thumbs", THUMBS, kind="thumb")
    for key in "120":
        thumbs.press(key)
    assert thumbs.labels() == {"t0": "up", "t1": "down", "t2": "skip"}
    pairs = Annotator("pairs", PAIRS)
    pairs.press("0")
    assert pairs.labels() == {"p0": "tie"}


def test_other_keys():
    pairs = Annotator("pairs", PAIRS)
    pairs.press("x")
    assert pairs.labels() == {}
    with pytest.raises(CourseError, match="no choice 'x'"):
        pairs.label("x")


def test_undo_also_of_an_earlier_session():
    pairs = Annotator("pairs", PAIRS)
    pairs.undo()  # nothing to take back
    pairs.press("1")
    pairs.press("2")
    pairs.press("U")
    assert set(pairs.labels()) == {"p0"}
    again = Annotator("pairs", PAIRS)
    again.undo()
    assert Annotator("pairs", PAIRS).labels() == {} and again.current()["id"] == "p0"


# --- On disk ------------------------------------------------------------------------------------------------


def test_a_killed_session_loses_nothing(folder: Path):
    code = f"""
        import json, os
        from smol_course.evaluation.annotate import Annotator
        pairs = Annotator("pairs", json.loads({json.dumps(json.dumps(PAIRS))}))
        for _ in range(3):
            pairs.label("0")
        os._exit(9)  # as a kill: nothing is tidied up
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ, check=False)
    assert killed.returncode == 9
    resumed = Annotator("pairs", PAIRS)
    assert set(resumed.labels()) == {"p0", "p1", "p2"} and resumed.current()["id"] == "p3"


def test_killed_while_writing_the_old_file_stays(monkeypatch: pytest.MonkeyPatch):
    pairs = Annotator("pairs", PAIRS)
    pairs.label("1")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pairs.label("1")
    assert set(Annotator("pairs", PAIRS).labels()) == {"p0"}
    assert set(pairs.labels()) == {"p0"}, "what is not on disk is not labelled"


def test_two_sessions_at_once_keep_both():
    first, second = Annotator("pairs", PAIRS[:3]), Annotator("pairs", PAIRS[3:])
    first.label("0")
    second.label("0")
    first.label("0")
    assert set(Annotator("pairs", PAIRS).labels()) == {"p0", "p1", "p3"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"labels": {}}', '{"labels": [{"id": 1}]}', '{"labels": [3]}', "\x00"]
)
def test_a_damaged_file_is_said_in_one_sentence_and_left(text: str):
    pairs = Annotator("pairs", PAIRS)
    pairs.label("1")
    pairs.file.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=r"pairs\.json, is damaged, so it was left as it is") as caught:
        Annotator("pairs", PAIRS)
    assert "\n" not in str(caught.value)
    for change in (pairs.undo, lambda: pairs.label("1")):
        with pytest.raises(CourseError, match="is damaged"):
            change()
    assert pairs.file.read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text():
    pairs = Annotator("pairs", PAIRS)
    pairs.label("1")
    pairs.file.write_bytes(b"\xff\xfe{")
    with pytest.raises(CourseError, match="is damaged"):
        Annotator("pairs", PAIRS)
    assert pairs.file.read_bytes() == b"\xff\xfe{"


def test_a_folder_that_cannot_be_written(folder: Path):
    (folder / "labels").write_text("in the way", encoding="utf-8")
    with pytest.raises(CourseError, match="cannot be read|could not be kept"):
        Annotator("pairs", PAIRS).label("1")
    assert (folder / "labels").read_text(encoding="utf-8") == "in the way"


def test_a_label_does_not_speak_about_a_changed_text():
    Annotator("pairs", PAIRS).label("1")
    changed = [PAIRS[0] | {"texts": ["plain 0", "something else"]}, *PAIRS[1:]]
    later = Annotator("pairs", changed)
    assert later.labels() == {} and later.current()["id"] == "p0"
    later.label("0")
    assert later.labels() == {"p0": "tie"}
    assert set(Annotator("pairs", PAIRS).labels()) == {"p0"}, "what was said about the old text is kept"


def test_two_items_with_the_same_id():
    with pytest.raises(CourseError, match="Two items have the id 'p0'"):
        Annotator("pairs", [*PAIRS, PAIRS[0] | {"texts": ["a", "b"]}])


@pytest.mark.parametrize(
    "item", [None, {}, {"id": 1, "question": "", "texts": ["a", "b"]}, {"id": "a", "question": "", "texts": ["a"]}]
)
def test_items_of_another_form(item: Any):
    with pytest.raises(CourseError, match="needs id, question and a list of 2 texts"):
        Annotator("pairs", [item])


def test_names_and_kinds():
    with pytest.raises(CourseError, match="cannot name labels"):
        Annotator("../pairs", PAIRS)
    with pytest.raises(CourseError, match="no kind 'stars'"):
        Annotator("pairs", PAIRS, kind="stars")


# --- On the screen ------------------------------------------------------------------------------------------


def test_a_run_goes_on_without_a_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    Annotator("pairs", PAIRS).label("1")
    monkeypatch.setenv("SMOL_RUN", str(tmp_path / "run"))
    run = Annotator("pairs", PAIRS)
    run.show()
    assert run.labels() == {}, "a run never takes the learner's labels"
    assert capsys.readouterr().out.startswith("0 of 6 labelled.")


def test_buttons_and_keys_of_the_widget():
    thumbs = Annotator("thumbs", THUMBS, kind="thumb")
    page, buttons, box, message = annotate._widget(thumbs).children
    assert [button.description for button in buttons.children] == [
        "Thumbs up (1)",
        "Thumbs down (2)",
        "Cannot tell (0)",
        "Take back (u)",
    ]
    assert all(button.tabbable is not False for button in buttons.children)
    assert "&lt;b&gt;0&lt;/b&gt;" in page.value and "<b>0</b>" not in page.value
    buttons.children[1].click()
    assert thumbs.labels() == {"t0": "down"} and "1 of 3 labelled" in page.value
    box.value = "1"
    box.value = "12"  # only the new key counts
    assert thumbs.labels() == {"t0": "down", "t1": "up", "t2": "down"}
    assert "every item has a label" in page.value
    box.value = "1"  # deleting in the box takes nothing back
    box.value = "1u"
    assert set(thumbs.labels()) == {"t0", "t1"} and message.value == ""


def test_the_widget_says_when_a_label_cannot_be_kept():
    pairs = Annotator("pairs", PAIRS)
    _, buttons, _, message = annotate._widget(pairs).children
    pairs.label("1")
    pairs.file.write_text("{", encoding="utf-8")
    buttons.children[0].click()
    assert "is damaged" in message.value

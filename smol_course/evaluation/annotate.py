"""Asking the person at the keyboard: which of two texts is better, or thumbs up or down for one.

Labels are kept in the learner's folder (in a ``smol run``: in the run's, where nobody labels), one JSON file for each
name, written in one step after each label. A label contains the item's id and a hash of its texts, so that it never
speaks about a text that has changed. What it cannot know: whether the person read what was shown, or who it was.
"""

import hashlib
import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from smol_course.errors import CourseError
from smol_course.files import write_json
from smol_course.settings import data_folder, run_folder

# What can be said, by its key: (what is kept, what the button says). "1" and "2" are places on the screen.
_CHOICES = {
    "pair": {"1": ("first", "First is better"), "2": ("second", "Second is better"), "0": ("tie", "No difference")},
    "thumb": {"1": ("up", "Thumbs up"), "2": ("down", "Thumbs down"), "0": ("skip", "Cannot tell")},
}
_UNDO, _TEXTS = "u", {"pair": 2, "thumb": 1}


class Annotator:
    """Shows items one by one and keeps what the person says about each.

    ``items`` are dictionaries with an ``id``, a ``question`` and ``texts``: two for ``kind="pair"``, one for "thumb".
    The order of the two on the screen depends on the item's hash, so that a liking for the left side does not become
    a liking for one kind of text. Raises CourseError for a bad name or kind, items that are not of this form, two
    items with the same id, and a file of labels that cannot be read; such a file is left as it is.
    """

    def __init__(self, name: str, items: list[dict[str, Any]], kind: str = "pair") -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise CourseError(f"{name!r} cannot name labels: use letters, digits, - and _.")
        if kind not in _CHOICES:
            raise CourseError(f"There is no kind {kind!r} of labels: take pair or thumb.")
        self.kind, self.items = kind, [_sound(item, kind) for item in items]
        ids = [item["id"] for item in self.items]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice is not None:
            raise CourseError(f"Two items have the id {twice!r}: give each its own, or their labels get mixed up.")
        self.file = (run_folder() or data_folder()) / "labels" / f"{name}.json"
        self._kept = _read(self.file)

    def labels(self) -> dict[str, str]:
        """Return what was said, by the item's id, of the items whose texts are still those that were shown.

        For a pair "0" or "1" is the better text's place in ``texts``, or "tie"; for a thumb "up", "down" or "skip".
        """
        hashes = {item["id"]: item["sha256"] for item in self.items}
        return {entry["id"]: entry["label"] for entry in self._kept if hashes.get(entry["id"]) == entry["sha256"]}

    def current(self) -> dict[str, Any] | None:
        """Return the first item without a label, its texts in the order of the screen; None when all have one."""
        done = self.labels()
        item = next((item for item in self.items if item["id"] not in done), None)
        return item and item | {"texts": [item["texts"][place] for place in _order(item)]}

    def label(self, choice: str) -> None:
        """Label the current item by a key ("1", "2" or "0") and write it to disk before returning.

        "1" and "2" mean the places on the screen. Raises CourseError for another key, and when the file cannot be
        read or written; the item then has no label.
        """
        if choice not in _CHOICES[self.kind]:
            raise CourseError(f"There is no choice {choice!r}: take one of {', '.join(_CHOICES[self.kind])}.")
        item = self.current()
        if item is None:
            return
        said = _CHOICES[self.kind][choice][0]
        if said in ("first", "second"):
            said = str(_order(item)[("first", "second").index(said)])
        entry = {"id": item["id"], "sha256": item["sha256"], "label": said, "at": _now()}
        with self._changing() as kept:
            # What was said about an earlier text of this id stays in the file: it was said.
            kept.append(entry)

    def undo(self) -> None:
        """Take back the latest label of these items, also one of an earlier session. Raises CourseError as `label`."""
        with self._changing() as kept:
            mine = {(item["id"], item["sha256"]) for item in self.items}
            latest = [place for place, entry in enumerate(kept) if (entry["id"], entry["sha256"]) in mine]
            if latest:
                del kept[latest[-1]]

    def press(self, key: str) -> None:
        """Do what a key stands for: "1", "2", "0" label, "u" takes back; any other does nothing."""
        if key.lower() == _UNDO:
            self.undo()
        elif key in _CHOICES[self.kind]:
            self.label(key)

    def show(self) -> None:
        """Show the items with buttons, reachable by Tab, and a box in which single keys label.

        In a ``smol run`` nobody is there, so it only prints how many labels there are.
        """
        if run_folder():
            print(f"{self._progress()} Nobody sits at the keyboard of a run, so it goes on.")
            return
        from IPython.display import display

        display(_widget(self))

    def _progress(self) -> str:
        return f"{len(self.labels())} of {len(self.items)} labelled."

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, str]]]:
        """Yield the entries on disk to change, and write them in one step; one process at a time."""
        from filelock import FileLock

        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.file.with_suffix(".lock")):
                kept = _read(self.file)  # another notebook may have labelled meanwhile
                yield kept
                write_json(self.file, {"labels": kept}, indent=1)
        except OSError as error:
            raise CourseError(
                f"The label could not be kept in {self.file.name} ({error.strerror or error}): free some disk or "
                "mend the folder, then label again."
            ) from error
        self._kept = kept


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sound(item: Any, kind: str) -> dict[str, Any]:
    """The item with its hash. Raises CourseError unless it has the form."""
    texts = item.get("texts") if isinstance(item, dict) else None
    whole = isinstance(texts, list | tuple) and len(texts) == _TEXTS[kind]
    if not whole or not all(isinstance(text, str) for text in (item.get("id"), item.get("question"), *texts)):
        raise CourseError(f"An item of kind {kind} needs id, question and a list of {_TEXTS[kind]} texts, all strings.")
    shown = json.dumps([kind, item["question"], *texts])
    digest = hashlib.sha256(shown.encode()).hexdigest()
    return {"id": item["id"], "question": item["question"], "texts": list(texts), "sha256": digest}


def _order(item: dict[str, Any]) -> list[int]:
    """Which text stands in which place on the screen: the same in every session."""
    places = list(range(len(item["texts"])))
    return places[::-1] if int(item["sha256"][0], 16) % 2 else places


# --- The file -----------------------------------------------------------------------------------------------


def _read(file: Path) -> list[dict[str, str]]:
    """The entries of the file, the oldest first. Raises CourseError for a damaged one, which stays as it is."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["labels"]
        if not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise TypeError("not a list of labels")
        return entries
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CourseError(f"Your labels in {file.name} cannot be read ({error.strerror or error}).") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CourseError(
            f"The file with your labels, {file}, is damaged, so it was left as it is: mend it, or move it away to "
            "begin anew."
        ) from error


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(part), str) for part in ("id", "sha256", "label"))


# --- The widget ---------------------------------------------------------------------------------------------


def _page(annotator: Annotator) -> str:
    """What is on the screen, as HTML; the texts are escaped."""
    item = annotator.current()
    head = f"<p>{annotator._progress()}</p>"
    if item is None:
        return f"{head}<p>Done: every item has a label. Run the next cell.</p>"
    names = ("First", "Second") if annotator.kind == "pair" else ("Text",)
    texts = (f"<p><b>{name}:</b> {html.escape(text)}</p>" for name, text in zip(names, item["texts"], strict=True))
    return f"{head}<p>{html.escape(item['question'])}</p>{''.join(texts)}"


def _widget(annotator: Annotator) -> Any:
    """Buttons and a box for keys around the page. The buttons stay the same objects, so that focus stays on them."""
    import ipywidgets as widgets

    page, message = widgets.HTML(_page(annotator)), widgets.HTML()
    keys = {key: words for key, (_, words) in _CHOICES[annotator.kind].items()} | {_UNDO: "Take back"}
    box = widgets.Text(description="Keys:", placeholder="type " + ", ".join(keys), continuous_update=True)

    def press(key: str) -> None:
        message.value = ""
        try:
            annotator.press(key)
        except CourseError as error:
            message.value = f"<p><b>{html.escape(str(error))}</b></p>"
        page.value = _page(annotator)

    def typed(change: dict[str, str]) -> None:
        # What was typed stays in the box: emptying it would race with the next key. Only what is new counts.
        if change["new"].startswith(change["old"]):
            for key in change["new"][len(change["old"]) :]:
                press(key)

    box.observe(typed, "value")
    buttons = []
    for key, words in keys.items():
        button = widgets.Button(description=f"{words} ({key})", layout=widgets.Layout(width="auto"))
        button.on_click(lambda _, key=key: press(key))
        buttons.append(button)
    return widgets.VBox([page, widgets.HBox(buttons), box, message])

"""The collections of pages that an agent searches, the course's lessons and Python's help, and questions on them.

The lessons are read as they stand, in the repository or in the installed package, so an edited lesson changes what is
found. What it does not know: which questions people would ask.
"""

import re
from pathlib import Path

from smol_course.data import read_lines
from smol_course.errors import CourseError
from smol_course.settings import course_files


def questions() -> list[dict]:
    """Return the questions on two collections of pages, the course's lessons and Python's help.

    Each has ``id``, ``corpus`` ("lessons" or "help"), ``question``, ``source`` (the page's address as `pages` gives it)
    and ``evidence``, words that stand there and contain the answer. Where no page answers it, both are None.
    """
    return read_lines("questions")


def pages(corpus: str, longest: int = 4000) -> list[dict]:
    """Return the pages of "lessons" (by section) or of Python's "help", as dictionaries.

    Each has ``source``, such as "dpo.md#Length" or "help:assert", and ``text``. Lessons are those of the modules that
    the questions are about, without marks, tables of numbers and the quiz. Help pages with more than ``longest``
    characters are left out. Raises CourseError for another name.
    """
    if corpus == "help":
        from pydoc_data.topics import topics

        return [
            {"source": f"help:{name}", "text": text} for name, text in sorted(topics.items()) if len(text) <= longest
        ]
    if corpus != "lessons":
        raise CourseError(f"There are no pages {corpus!r}: take lessons or help.")
    sections = []
    for path in sorted(path for module in _asked_about() for path in module.glob("*.md")):
        if path.name not in ("README.md", "going_further.md"):
            sections += _sections(path.name, path.read_text(encoding="utf-8"))
    return sections


def _asked_about() -> set[Path]:
    """The folders of the modules that contain a lesson which answers one of the questions."""
    sources = [question["source"] for question in questions() if question["corpus"] == "lessons"]
    lessons = {source.partition("#")[0] for source in sources if source}
    return {path.parent for path in course_files("[0-9]*_*/*.md") if path.name in lessons}


def _sections(name: str, text: str) -> list[dict]:
    """A lesson's sections, without what is generated, code, the quiz and the papers."""
    text = re.sub(r"<!--smol:.*?<!--/smol-->", "…", text, flags=re.DOTALL)
    text = re.sub(r"^(```|~~~).*?^\1\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    sections = []
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if title not in ("Quiz", "Papers", "Now run it") and body.strip():
            sections.append({"source": f"{name}#{title}", "text": f"{title}\n{body.strip()}"})
    return sections

"""The report of a run: one HTML file with everything in it. It opens without a network, and nothing in it can run.

The page itself is ``report.html.j2`` and ``report.css``, beside this file.
"""

import html
import os
import re
import time
from pathlib import Path
from typing import Any

import bleach
import jinja2
import nbformat
from pygments.formatters import HtmlFormatter

from smol_course.files import save_text
from smol_course.hardware import describe_short
from smol_course.runner import words
from smol_course.runner.sources import Notebook

_MARKDOWN_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(\s*([^)\s]+)[^)]*\)")
_TAGS = (
    "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li mark ol p pre s "
    "small span strong sub summary sup table tbody td tfoot th thead tr u ul"
).split()
_ATTRIBUTES = {"alt", "class", "colspan", "height", "open", "rowspan", "title", "width"}


def write_report(folder: Path, title: str, chosen: list[Notebook], state: dict[str, Any]) -> Path:
    """Write ``report.html`` on a run's state into its folder, without notebooks that did not run; return its path."""
    entries = state["notebooks"]
    files = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=files, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = page.get_template("report.html.j2").render(
        title=title,
        notebooks=[_executed(entries[n.name], n, folder) for n in chosen if n.name in entries],
        words=words,
        costs=words.costs(entries),
        machine=describe_short(),
        day=time.strftime("%Y-%m-%d"),
        light=HtmlFormatter(style="default").get_style_defs(".highlight"),
        dark=HtmlFormatter(style="github-dark").get_style_defs(".highlight"),
    )
    save_text(folder / "report.html", text)
    return folder / "report.html"


def _executed(entry: dict[str, Any], notebook: Notebook, folder: Path) -> dict[str, Any]:
    """A notebook's entry in the state, with its results in words, its cells, and all of it as HTML."""
    from nbconvert import HTMLExporter

    node = nbformat.read(folder / entry["executed"], as_version=4)
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = _MARKDOWN_LINK.sub(lambda link: _moved(link, notebook, folder), cell.source)
    # The basic template writes cells only: the others load MathJax and more from a network.
    filters = {"clean_html": _harmless}
    exporter = HTMLExporter(template_name="basic", embed_images=True, sanitize_html=True, filters=filters)
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.root)}})
    return entry | {"name": notebook.name, "said": words.results(entry["results"]), "cells": node.cells, "body": body}


def _moved(link: re.Match[str], notebook: Notebook, folder: Path) -> str:
    """The link or image of a notebook as the page needs it: a file of the course is found from the run folder."""
    # Images count from the repository's root: nbconvert embeds no file outside the folder it is given.
    mark, text, target = link.groups()
    path, root = (notebook.source.parent / target).resolve(), notebook.root.resolve()
    if re.match(r"[\w.+-]+:|[/#]", target) or not (path.exists() and path.is_relative_to(root)):
        return link[0]
    return f"{mark}[{text}]({Path(os.path.relpath(path, root if mark else folder.resolve())).as_posix()})"


def _harmless(body: Any) -> str:
    """The HTML without what would run or load something, wherever it came from (an output may contain anything)."""
    body = re.sub(r"<(script|style)\b.*?</\1\s*>", "", str(body), flags=re.DOTALL | re.IGNORECASE)
    protocols = {"http", "https", "mailto", "data"}
    return bleach.clean(body, tags=_TAGS, attributes=_allowed, protocols=protocols, strip=True)


def _allowed(tag: str, name: str, value: str) -> bool:
    target = re.sub(r"\s", "", html.unescape(value)).lower()
    if name == "src":
        return tag == "img" and target.startswith("data:image/")
    return tag == "a" and not target.startswith("data:") if name == "href" else name in _ATTRIBUTES

"""The report of a run: one HTML file with everything in it. It opens without a network, and nothing in it can run.

The page itself is ``report.html.j2`` and ``report.css``, beside this file.
"""

import html
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bleach
import jinja2
import nbformat
from nbformat import NotebookNode

from smol_course.files import save_text
from smol_course.hardware import describe_short
from smol_course.runner import words
from smol_course.runner.sources import Notebook

_MARKDOWN_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(\s*([^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_LEFT_WRONG = re.compile(r"what\b.*\bwrong", re.IGNORECASE)  # the heading under which a notebook prints its failures
_TAGS = (
    "a abbr b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li mark ol p pre s "
    "small span strong sub summary sup table tbody td tfoot th thead tr u ul"
).split()
_ATTRIBUTES = {"alt", "class", "colspan", "height", "open", "rowspan", "title", "width"}


def write_report(folder: Path, title: str, chosen: list[Notebook], state: dict[str, Any]) -> Path:
    """Write ``report.html`` into the run folder and return its path.

    ``state`` is the run's state: its ``notebooks`` contain each executed notebook's file name, costs and results, and
    where it failed. Notebooks that did not run are left out.
    """
    ran = [notebook for notebook in chosen if notebook.name in state["notebooks"]]
    entries = {notebook.name: state["notebooks"][notebook.name] for notebook in ran}
    parts = [
        {"name": notebook.name, "id": f"notebook-{k}", **entries[notebook.name]}
        | _parts(folder / entries[notebook.name]["executed"], notebook)
        | {"said": words.results(entries[notebook.name]["results"])}
        for k, notebook in enumerate(ran)
    ]
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page.filters |= {name: getattr(words, name) for name in ("duration", "memory", "value", "interval", "is_share")}
    text = page.get_template("report.html.j2").render(
        title=title,
        notebooks=parts,
        costs=words.costs(entries),
        machine=describe_short(),
        day=time.strftime("%Y-%m-%d"),
        highlighting=_highlighting(),
    )
    path = folder / "report.html"
    save_text(path, text)
    return path


def _highlighting() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"


def _parts(executed: Path, notebook: Notebook) -> dict[str, Any]:
    """What the page shows of an executed notebook: its results, figures, printed failures, and all of it as HTML."""
    from nbconvert import HTMLExporter

    node = nbformat.read(executed, as_version=4)
    shown = list(_outputs(node))
    parts = {
        "figures": [
            (heading, kind, output["data"][kind])
            for heading, output in shown
            for kind in ("image/png", "image/jpeg")
            if kind in output.get("data", {})
        ],
        "wrong": [out.text for heading, out in shown if out.output_type == "stream" and _LEFT_WRONG.match(heading)],
    }
    # The basic template writes cells only: the others load MathJax and more from a network.
    exporter = HTMLExporter(
        template_name="basic", embed_images=True, sanitize_html=True, filters={"clean_html": _harmless}
    )
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = _MARKDOWN_LINK.sub(lambda link: _moved(link, notebook, executed.parent), cell.source)
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.root)}})
    return parts | {"body": body}


def _outputs(node: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each output with the heading above it."""
    heading = ""
    for cell in node.cells:
        if cell.cell_type == "markdown":
            heading = (_HEADING.findall(cell.source) or [heading])[-1]
        for output in cell.get("outputs", []):
            yield heading, output


def _moved(link: re.Match[str], notebook: Notebook, folder: Path) -> str:
    """The link or image of a notebook as the page needs it: a file of the course is found from the run folder.

    Images count from the repository's root: nbconvert embeds no file outside the folder it is given.
    """
    mark, text, target = link.groups()
    path, root = (notebook.source.parent / target).resolve(), notebook.root.resolve()
    if re.match(r"[\w.+-]+:|[/#]", target) or not (path.exists() and path.is_relative_to(root)):
        return link[0]
    return f"{mark}[{text}]({Path(os.path.relpath(path, root if mark else folder.resolve())).as_posix()})"


def _harmless(body: Any) -> str:
    """The HTML without what would run or load something, wherever it came from (an output may contain anything)."""
    body = re.sub(r"<(script|style)\b.*?</\1\s*>", "", str(body), flags=re.DOTALL | re.IGNORECASE)
    return bleach.clean(
        body, tags=_TAGS, attributes=_allowed, protocols={"http", "https", "mailto", "data"}, strip=True
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    target = re.sub(r"\s", "", html.unescape(value)).lower()
    if name == "src":
        return tag == "img" and target.startswith("data:image/")
    return tag == "a" and not target.startswith("data:") if name == "href" else name in _ATTRIBUTES

"""The report of a run: one HTML file with everything in it, so that it opens without a network."""

import html
import re
from pathlib import Path
from typing import Any

import nbformat

from smol_course.files import save_text
from smol_course.runner import show
from smol_course.runner.sources import Notebook

_CSS = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid #8888; padding: .25rem .6rem; text-align: left; }
pre { overflow-x: auto; padding: .5rem; border-radius: 4px; }
.input pre, .highlight pre { background: #8881; }
.prompt, .anchor-link { display: none; }
img, svg { max-width: 100%; }
.output_png img, .output_jpeg img { background: white; }
"""
_MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(\s*([^)\s]+)[^)]*\)")


def write_report(folder: Path, title: str, chosen: list[Notebook], state: dict[str, Any]) -> Path:
    """Write ``report.html`` into the run folder and return its path.

    ``state`` is the run's state: its ``notebooks`` contain each executed notebook's file name, costs and results.
    """
    entries = state["notebooks"]
    results = {name: entry["results"] for name, entry in entries.items()}
    parts = [
        _table("Before and after", show.BEFORE_AFTER, show.before_after(results)),
        _table("Other results", show.OTHERS, show.other_results(results)),
        _table("Costs", show.COSTS, show.cost_rows(entries)),
    ]
    for notebook in chosen:
        body = _body(folder / entries[notebook.name]["executed"], notebook)
        parts.append(f"<hr><h2>{html.escape(notebook.name)}</h2>\n<article>{body}</article>")
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{_CSS}{_highlighting()}</style></head>
<body><h1>{html.escape(title)}</h1>
{"".join(parts)}
</body></html>
"""
    path = folder / "report.html"
    save_text(path, page)
    return path


def _table(title: str, header: tuple[str, ...], rows: show.Rows) -> str:
    if not rows:
        return ""
    lines = [f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in header)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in row)}</tr>" for row in rows]
    return f"<h2>{title}</h2>\n<table>{''.join(lines)}</table>\n"


def _highlighting() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"


def _body(executed: Path, notebook: Notebook) -> str:
    """The notebook's cells and outputs as HTML, pictures embedded and nothing fetched from elsewhere."""
    from nbconvert import HTMLExporter

    # The basic template writes cells only: the others load MathJax and more from a network.
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    node = nbformat.read(executed, as_version=4)
    for cell in node.cells:
        if cell.cell_type == "markdown":
            cell.source = _MARKDOWN_IMAGE.sub(lambda image: _from_root(image, notebook), cell.source)
    body, _ = exporter.from_notebook_node(node, resources={"metadata": {"path": str(notebook.root)}})
    return _without_external(body)


def _from_root(image: re.Match[str], notebook: Notebook) -> str:
    """The image with its path from the repository's root: nbconvert embeds no file outside the folder it is given.

    A badge or a picture on a server becomes its description.
    """
    description, target = image.groups()
    if target.startswith(("http:", "https:", "//")):
        return description
    path = (notebook.source.parent / target).resolve()
    inside = path.is_file() and path.is_relative_to(notebook.root.resolve())
    return f"![{description}]({path.relative_to(notebook.root.resolve()).as_posix()})" if inside else image[0]


def _without_external(body: str) -> str:
    """Drop the tags that would load something, wherever they came from (an output may contain any HTML)."""
    body = re.sub(r"<(script|iframe|object)\b[^>]*\bsrc\s*=.*?</\1\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    body = re.sub(r"<link\b[^>]*>", "", body, flags=re.IGNORECASE)
    return re.sub(
        r"<(?:img|iframe|video|audio|source|embed)\b[^>]*\b(?:src|srcset)\s*=\s*[\"']?(?:https?:)?//[^>]*>",
        "",
        body,
        flags=re.IGNORECASE,
    )

"""Take out of an executed notebook what is of no use afterwards, and find what must not go into git."""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from smol_course.runner.sources import tags
from smol_course.settings import cache_folder, data_folder

MOST_BYTES = 400_000
_WIDGET = "application/vnd.jupyter.widget-view+json"
_BAR = re.compile(r"\r(?!\n)|\d+%\|")
# The bar that transformers' trainer shows in a notebook, with its clock; the table of losses below it stays.
_HTML_BAR = re.compile(r"<div>\s*<progress\b.*?</progress>.*?</div>|<progress\b.*?</progress>", re.DOTALL)


def strip_residue(node: NotebookNode) -> NotebookNode:
    """Remove progress bars and widgets from the outputs, join texts printed piece by piece; return the notebook."""
    from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _residue(output)]
            # Where a printed text was cut depends on the clock.
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
    node.metadata.pop("widgets", None)
    return node


def _residue(output: NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name == "stderr" and bool(_BAR.search(output.text))
    data = output.get("data", {})
    if "<progress" in data.get("text/html", ""):
        data["text/html"] = _HTML_BAR.sub("", data["text/html"])
        return not re.sub(r"<[^>]+>|\s", "", data["text/html"])
    return _WIDGET in data


def tidy(node: NotebookNode, metadata: dict[str, Any]) -> NotebookNode:
    """Give the notebook nothing but the metadata that git needs, and cell ids that only a changed cell changes."""
    strip_residue(node)
    node.nbformat, node.nbformat_minor = 4, 5
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    wanted = {"kernelspec": kernel, "language_info": {"name": "python"}, "smol": metadata}
    node.metadata = nbformat.from_dict(wanted)
    seen: dict[str, int] = {}
    for cell in node.cells:
        cell.metadata = nbformat.from_dict({"tags": sorted(tags(cell))} if tags(cell) else {})
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return node


def _texts(value: Any) -> Iterator[str]:
    """All texts of an output, pictures aside: what base64 spells by chance is no path."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([item for key, item in value.items() if key not in {"image/png", "image/jpeg"}])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def unfit(node: NotebookNode, root: Path) -> str | None:
    """Say what in the notebook must not go into git (an error, a path of this machine, too many bytes), or None."""
    folders = root, Path.home(), Path(sys.prefix), cache_folder(), data_folder()
    places = [place for place in map(str, folders) if len(place) > 3]
    pattern = re.compile("|".join(re.escape(form) for p in places for form in (p, p.replace("\\", "/"))) + r"(?!\w)")
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    for k, cell in enumerate(code, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                return f"cell {k} shows an error ({output.ename}): mend the cell"
            if shown := next(filter(None, map(pattern.search, _texts(output))), None):
                return f"cell {k} shows a path of this machine ({shown[0]}…): print less in that cell"
    size = len(nbformat.writes(node).encode())
    if size > MOST_BYTES:
        most, k = max((len(json.dumps(cell.outputs)), k) for k, cell in enumerate(code, start=1))
        largest = f"cell {k} has the largest output, {most // 1000} KB"
        return f"it has {size // 1000} KB, more than {MOST_BYTES // 1000}: {largest}"
    return None

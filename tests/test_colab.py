"""Colab: what a notebook's first cell installs is what the notebook needs, and nothing that Colab's kernel has in use.

`tests/data/colab-*.txt` are Colab's own lists of packages. Each becomes a folder that looks installed, and uv says what
it would do there. What that leaves out: the packages in it declare no requirements, so that Colab's other packages have
no say (as with `uv pip install` there, which does not look at what it is not asked for), and the course itself comes
from its repository, 65 MB with its history, and its model once, 98 MB, when it is first used.
"""

import ast
import re
import shutil
import subprocess
import sys
import time
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOTEBOOKS = sorted(ROOT.glob("[0-9]*_*/notebooks/*.py"))
LISTS = {path.stem.rpartition("-")[2]: path for path in sorted((ROOT / "tests" / "data").glob("colab-*.txt"))}
# Not installed by default, so that nothing can be told here of what they bring.
ABSENT = {Requirement(need).name for name in ("gpu", "serving", "site") for need in EXTRAS[name]}
OFFLINE = r"error sending request|[Ff]ailed to fetch|connect|network|dns|timed out"

# What is in use before the first cell runs, and what a notebook is drawn with. Taken down once from `sys.modules`, on
# Python 3.13 with the versions of the list, after importing what Colab's kernel imports (googlecolab/colabtools:
# `_kernel.py`, `_reprs.py`, and the requirements of its `setup.py`), pandas and matplotlib. Without pyarrow, which
# pandas takes along: Colab takes care that pandas is not imported before a cell does it.
KERNEL = set(
    """backcall certifi charset-normalizer cycler debugpy decorator defusedxml entrypoints google-auth httplib2 idna
    ipykernel ipyparallel ipython jedi jupyter-client jupyter-core kiwisolver matplotlib matplotlib-inline numpy
    packaging pandas parso pexpect pickleshare pillow platformdirs portpicker prompt-toolkit psutil ptyprocess pygments
    pyparsing python-dateutil pytz pyzmq requests setuptools six tornado traitlets urllib3 wcwidth""".split()
)
# The server around the kernel, and the build of PyTorch that fits Colab's GPU.
SERVER = {"ipywidgets", "jupyter-server", "notebook", "nbclassic", "torch", "torchvision", "torchaudio", "triton"}


def flat(extras: set[str]) -> list[Requirement]:
    """The requirements of the core and of these extras, with what an extra takes from others."""
    needs = [Requirement(need) for name in extras for need in EXTRAS[name]]
    inner = {extra for need in needs if need.name == PROJECT["name"] for extra in need.extras}
    if inner - extras:
        return flat(extras | inner)
    return [Requirement(need) for need in PROJECT["dependencies"]] + [n for n in needs if n.name != PROJECT["name"]]


@cache
def closure(needs: tuple[str, ...]) -> frozenset[str]:
    """The names of all installed packages that these requirements bring, themselves included."""
    found, open_ = set(), [Requirement(need) for need in needs]
    environment = default_environment()
    while open_:
        need = open_.pop()
        keys = {(canonicalize_name(need.name), extra) for extra in ("", *need.extras)} - found
        found |= keys
        for name, extra in keys:
            for line in metadata.requires(name) or []:
                inner = Requirement(line)
                if not inner.marker or inner.marker.evaluate(environment | {"extra": extra}):
                    open_.append(inner)
    return frozenset(name for name, _ in found)


def imported(path: Path) -> set[str]:
    """The top names that a notebook imports from elsewhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"smol_course"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_installs_all_that_the_notebook_imports(path: Path) -> None:
    cell = re.search(r'"smol-course(?:\[([\w,-]+)\])? @ ', path.read_text(encoding="utf-8"))
    if not cell:
        pytest.skip("this notebook has no cell that installs the course")
    named = set(filter(None, (cell[1] or "").split(",")))
    brought = closure(tuple(sorted(str(need) for need in flat(named) if need.name not in ABSENT)))
    brought |= ABSENT & {need.name for need in flat(named)}
    modules = metadata.packages_distributions()
    for name in sorted(imported(path)):
        packages = {canonicalize_name(package) for package in modules.get(name, [name])}
        assert packages & brought, f"{name} comes neither with the core nor with {sorted(named)}"


def test_the_core_is_small() -> None:
    names = {Requirement(need).name for need in PROJECT["dependencies"]}
    other = {need.name for need in flat(set(EXTRAS["all"][0].partition("[")[2].rstrip("]").split(",")))} - names
    heavy = {"jupyter", "lighteval", "lm-eval", "gradio", "sentence-transformers", "faiss-cpu", "xgrammar", "nbclient"}
    assert heavy <= other
    assert not closure(tuple(PROJECT["dependencies"])) & (heavy | {"notebook", "jupyter-server", "jupyterlab"})


@pytest.fixture(scope="module", params=LISTS)
def colab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version of Python, and a folder in which the packages of that list seem installed."""
    if not shutil.which("uv"):
        pytest.skip("uv is not on PATH, so nothing can be resolved")
    folder = tmp_path_factory.mktemp("colab")
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", LISTS[request.param].read_text(), re.MULTILINE):
        info = folder / f"{re.sub('[-.]+', '_', name).lower()}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("")
    return request.param, folder


def uv(*words: str, **more: str) -> subprocess.CompletedProcess:
    """What uv says; the test is skipped where there is no network."""
    done = subprocess.run(["uv", *words], capture_output=True, text=True, timeout=180, check=False, **more)
    if done.returncode and re.search(OFFLINE, done.stderr):
        pytest.skip(f"the package registry does not answer: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done


def would_do(version: str, folder: Path, extras: set[str]) -> tuple[set[str], list[str], float]:
    """What uv would replace there, what it would install, and the seconds it takes to say so."""
    start = time.monotonic()
    where = ["--python-version", version, "--python-platform", "x86_64-manylinux_2_35"]
    needs = [word for extra in sorted(extras) for word in ("--extra", extra)]
    source = ["--target", str(folder), "-r", str(ROOT / "pyproject.toml"), *needs]
    said = uv("pip", "install", "--dry-run", "--no-config", *where, *source, cwd=folder).stderr
    new = re.findall(r"^ \+ (\S+)$", said, re.MULTILINE)
    return set(re.findall(r"^ - ([\w.-]+)==", said, re.MULTILINE)), new, time.monotonic() - start


def megabytes(version: str, packages: list[str], folder: Path) -> float:
    """The download's size, as the registry states it."""
    where = ["--python-version", version, "--python-platform", "x86_64-manylinux_2_35", "--format", "pylock.toml"]
    words = ["pip", "compile", "-q", "--no-config", "--no-deps", *where, "-"]
    lock = tomllib.loads(uv(*words, input="\n".join(packages), cwd=folder).stdout)
    files = [package.get("wheels") or [package["sdist"]] for package in lock["packages"]]
    if not all("size" in file for group in files for file in group):
        pytest.skip("this registry does not state sizes")
    return sum(max(file["size"] for file in group) for group in files) / 1e6


def test_module_1_replaces_nothing_that_colab_has_in_use(colab: tuple[str, Path]) -> None:
    version, folder = colab
    replaced, new, seconds = would_do(version, folder, set())
    size = megabytes(version, new, folder)
    print(f"Python {version}, module 1: {seconds:.1f} s, {size:.0f} MB, {len(new)} packages, replaced {replaced}")
    assert {"trl", "gguf"} <= {name.partition("==")[0] for name in new}, "what Colab lacks"
    assert not replaced & (KERNEL | SERVER)
    assert seconds < 40 and 0 < size < 200 - 65  # what its own repository takes


def test_no_extra_replaces_what_colab_has_in_use(colab: tuple[str, Path]) -> None:
    version, folder = colab
    extras = set(EXTRAS) - {"command", "all", "gpu", "site", "evaluation"}  # resolving `evaluation` takes 30 s, cold
    replaced, new, seconds = would_do(version, folder, extras)
    print(f"Python {version}, {sorted(extras)}: {seconds:.1f} s, {len(new)} packages, replaced {sorted(replaced)}")
    assert not replaced & (KERNEL | SERVER)
    with_command, _, _ = would_do(version, folder, {"command"})
    assert "jupyter-client" in with_command, "this test would not see it"


def test_colabs_lists_say_whence_they_are() -> None:
    assert len(LISTS) == 2
    for version, path in LISTS.items():
        text = path.read_text(encoding="utf-8")
        head = [line for line in text.splitlines() if line.startswith("#")]
        assert re.search(rf"\b20\d\d \(.*Python {re.escape(version)}\)", head[0])
        assert "googlecolab/backend-info" in " ".join(head) and re.search(r"\b[0-9a-f]{40}\b", " ".join(head))
        names = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
        assert len(names) > 600 and KERNEL - {"jedi"} <= names

"""Every notebook with the installed package alone: the wheel in an empty environment, the working directory anywhere.

The environment has the wheel and the third-party packages of this one, but nothing of the repository: neither its
folder nor its editable install. Run there are the setup and parameters, the plots of studies and the exercises with
their checks; what trains is not. This file is also the program that runs there (`main`): it imports what the notebooks
import once, and forks for each. What it does not see: files that native code opens.
"""

import ast
import json
import os
import runpy
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
RUN = {"parameters", "setup", "study", "exercise", "check"}


# --- The program that runs in the empty environment ---------------------------------------------------------


def main(asked: dict[str, Any]) -> None:
    """Run the cells of each notebook in a process and an empty folder of its own; write what came of it as JSON."""
    cells = {name: jupytext.read(source, fmt="py:percent").cells for name, source in asked["notebooks"].items()}
    opened: list[str] = []
    sys.addaudithook(lambda event, arguments: event == "open" and opened.append(str(arguments[0])))
    for cell in (cell for node in cells.values() for cell in node if "setup" in tags(cell)):
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                with suppress(ImportError):  # the cell itself will say so
                    exec(ast.unparse(statement), {})
    for name, node in cells.items():
        folder = Path(asked["folder"]) / name.replace("/", "-")
        (folder / "empty").mkdir(parents=True)
        if not os.fork():
            try:
                os.chdir(folder / "empty")
                for stream in (1, 2):
                    os.dup2(os.open(folder / "printed.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY), stream)
                result = ran(node) | {"opened": below(asked["root"], opened, asked["third_party"])}
                (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
            finally:
                os._exit(0)
        os.wait()


def tags(cell: NotebookNode) -> set[str]:
    """The cell's tags."""
    return set(cell.metadata.get("tags", []))


def below(root: str, opened: list[str], third_party: list[str]) -> list[str]:
    """The files of the repository among those that were opened: not this one, nor packages of a `.venv` in there."""
    others = (__file__, *third_party)
    return sorted({name for name in opened if name.startswith(root + os.sep) and not name.startswith(others)})


def ran(cells: list[NotebookNode]) -> dict[str, Any]:
    """Run the cells in an IPython of their own; return what failed, what the checks said, where the package lies."""
    import matplotlib
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    import smol_course
    from smol_course.errors import CourseError
    from smol_course.settings import repository

    matplotlib.use("agg")
    shell, done, failed, verdicts = InteractiveShell.instance(), set(), [], []

    def run(place: int) -> None:
        """Run a cell; where it needs a name that an untagged cell before it gives, that one first."""
        done.add(place)
        while error := (shown := shell.run_cell(cells[place].source)).error_in_exec or shown.error_before_exec:
            giver = giving(cells[:place], getattr(error, "name", None)) if isinstance(error, NameError) else None
            if giver is None or giver in done:
                failed.append(f"{cells[place].source.splitlines()[0]} … {type(error).__name__}: {error}")
                return
            run(giver)

    commands: list[str] = []
    for place, cell in enumerate(cells):
        if "install" in tags(cell):  # with names of its own, as no other cell may need them
            exec(cell.source, {"get_ipython": lambda: SimpleNamespace(system=commands.append)})
        if cell.cell_type == "code" and tags(cell) & RUN:
            with capture_output(stdout=False, stderr=False) as displayed:
                run(place)
            found = (output.data.get("application/vnd.smol.check+json") for output in displayed.outputs)
            verdicts += [result["verdict"] for result in found if result]
    around = None
    with suppress(CourseError):
        around = str(repository())
    package = {"package": smol_course.__file__, "repository": around, "path": sys.path}
    return {"failed": failed, "verdicts": verdicts, "commands": commands} | package


def giving(cells: list[NotebookNode], name: str | None) -> int | None:
    """The place of the last untagged code cell that binds a name."""
    for place in reversed(range(len(cells))):
        if cells[place].cell_type == "code" and not tags(cells[place]):
            for node in ast.walk(ast.parse(cells[place].source)):
                bound = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None
                if name in (bound, getattr(node, "name", None)):
                    return place
    return None


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.exit()

# --- The tests ----------------------------------------------------------------------------------------------

import pytest  # noqa: E402
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager  # noqa: E402
from jupyter_client.manager import AsyncKernelManager  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbformat.v4 import new_code_cell  # noqa: E402

from smol_course import runner  # noqa: E402
from smol_course.agents.pages import pages  # noqa: E402
from smol_course.runner.kernel import inject  # noqa: E402

NOTEBOOKS = {notebook.name: notebook for notebook in runner.notebooks()}
THIRD_PARTY = sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})
EVERY = "test_a_notebook_runs_with_the_installed_package_alone"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the repository as it stands."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with the wheel and third-party packages."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    command = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([command, "-c", ask], capture_output=True, text=True, check=True, env=environment(folder))
    site = Path(asked.stdout.strip())
    zipfile.ZipFile(wheel).extractall(site)  # a wheel of Python only: unpacked is installed
    # Folders that such a file names are searched; the files like it in them, an editable install's, are not read.
    (site / "third_party.pth").write_text("\n".join(THIRD_PARTY) + "\n", encoding="utf-8")
    return command


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this process's paths; progress kept in the folder; the converted model shared."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "SMOL_RUN")}
    own = {"SMOL_DATA": str(folder / "data"), "IPYTHONDIR": str(folder / "ipython"), "HF_HUB_OFFLINE": "1"}
    return kept | own | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def results(python: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each notebook that is asked for, by its name."""
    names = [item.callspec.params["name"] for item in request.session.items if item.name.startswith(f"{EVERY}[")]
    folder = tmp_path_factory.mktemp("ran")
    sources = {name: str(NOTEBOOKS[name].source) for name in names}
    asked = {"notebooks": sources, "folder": str(folder), "root": str(ROOT), "third_party": THIRD_PARTY}
    command = [python, "-P", __file__, json.dumps(asked)]
    subprocess.run(command, cwd=folder, env=environment(folder), timeout=900, check=True)
    found = {name: folder / name.replace("/", "-") / "result.json" for name in names}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in found.items() if file.is_file()}


def test_a_wheel_carries_what_notebooks_read_and_an_editable_install_does_not(wheel: Path, tmp_path: Path) -> None:
    inside = zipfile.ZipFile(wheel)
    carried = {name.removeprefix("smol_course/modules/") for name in inside.namelist() if "/modules/" in name}
    patterns = ("[0-9]*_*/*.md", "[0-9]*_*/studies/*.json")
    files = {file.relative_to(ROOT).as_posix() for pattern in patterns for file in ROOT.glob(pattern)}
    assert len(files) > 50 and carried == files
    for name in carried:
        assert inside.read(f"smol_course/modules/{name}") == (ROOT / name).read_bytes()
    package = {file.relative_to(ROOT).as_posix() for file in (ROOT / "smol_course").rglob("*") if file.is_file()}
    assert {name for name in package if "__pycache__" not in name} <= set(inside.namelist())
    given: dict[str, dict[str, str]] = {"force_include": {}}
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))["Carry"]
    hook.initialize(SimpleNamespace(root=str(ROOT)), "editable", given)
    assert given == {"force_include": {}}
    with pytest.raises(FileNotFoundError, match="a wheel is built from the whole repository"):
        hook.initialize(SimpleNamespace(root=str(tmp_path)), "standard", given)


def test_the_installed_package_has_the_same_lessons_to_search(python: Path, tmp_path: Path) -> None:
    ask = "import json; from smol_course.agents.pages import pages; print(json.dumps(pages('lessons')))"
    env = environment(tmp_path) | {"PYTHONIOENCODING": "utf-8"}
    asked = subprocess.run([python, "-P", "-c", ask], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert json.loads(asked.stdout) == pages("lessons") != []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="importing everything 27 times would take half an hour")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_with_the_installed_package_alone(name: str, python: Path, results: dict[str, Any]) -> None:
    assert name in results, "its process ended early"
    result = results[name]
    assert Path(result["package"]).is_relative_to(python.parents[1]) and result["repository"] is None
    assert str(ROOT) not in result["path"] and not result["opened"], "the repository is at work here"
    assert not result["commands"], "the install cell does something where the course is installed"
    assert not result["failed"]
    assert len(result["verdicts"]) >= 2 and set(result["verdicts"]) == {"not yet"}


@pytest.mark.slow
def test_a_notebook_runs_with_the_repository_s_folder_as_working_directory(python: Path, tmp_path: Path) -> None:
    """As VS Code does when told to, and papermill, which also gives parameters by a cell of its own."""

    class Kernel(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(
                argv=[str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
            )

    node = NOTEBOOKS["1/supervised_fine_tuning"].read()
    node.cells = [cell for cell in node.cells if cell.cell_type == "code" and tags(cell) & (RUN | {"install"})]
    inject(node, {"steps": 1})
    node.cells.append(new_code_cell("print(f'{steps} step in', __import__('os').getcwd())"))
    manager = AsyncKernelManager(kernel_spec_manager=Kernel())
    client = NotebookClient(node, km=manager, resources={"metadata": {"path": str(ROOT)}}, timeout=300)
    client.execute(env=environment(tmp_path))
    printed = "".join(output.get("text", "") for cell in node.cells for output in cell.outputs)
    assert "over_training    after:" in printed and "fine-tuning did not help" in printed, "the plots of its study"
    assert f"1 step in {ROOT}" in printed

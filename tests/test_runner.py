"""The runner, on tiny notebooks in a repository of their own: no model, no network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from rich.console import Console

from smol_course import cli, exercises, runner
from smol_course.errors import CourseError
from smol_course.runner import clean, kernel, running, sources, staleness, studying

PLAIN = """\
# %% [markdown]
# # A title
# ![a drawing](../drawing.png) ![badge](https://example.com/badge.svg)

# %% tags=["parameters"]
rate = 1.0
word = "plain"
steps = 2

# %% tags=["setup"]
import os, sys
from smol_course.metrics import record

# %%
record("before_accuracy", 0.25, low=0.2, high=0.3, n=100)
print(sys.executable, os.environ["HF_HUB_OFFLINE"], os.environ["HF_DATASETS_OFFLINE"], rate, word)

# %%
record("after_accuracy", 0.5, low=0.4, high=0.6, n=100)
record("speed", 3.14159)
open(os.path.join(os.environ["SMOL_RUN"], "saved.txt"), "w").write("x")
"""
FAILS = """\
# %% tags=["parameters"]
seed = 1

# %%
def divide(a):
    b = a
    return 1 / b

# %%
ready = seed
divide(ready - 1)
print("never reached")

# %%
print("never reached")
"""
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one module without notebooks; `add` writes one."""
    module = tmp_path / "1_instruction_tuning"
    (module / "notebooks").mkdir(parents=True)
    (module / "studies").mkdir()
    (module / "drawing.png").write_bytes(PIXEL)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMOL_HUB", raising=False)
    monkeypatch.setattr("smol_course.runner.building.machine", lambda: "2 cores")

    def add(name: str, text: str) -> runner.Notebook:
        (module / "notebooks" / f"{name}.py").write_text(text)
        return runner.notebooks([f"1/{name}"])[0]

    return SimpleNamespace(root=tmp_path, module=module, add=add)


@pytest.fixture
def smol(monkeypatch, capsys):
    """Call the command line in this process; gives the exit status and everything printed."""

    def call(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["smol", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return SimpleNamespace(status=ended.value.code or 0, out=printed.out, err=printed.err)

    return call


def _state(course) -> dict:
    (path,) = course.root.glob("runs/*/state.json")
    return json.loads(path.read_text())


def test_targets_follow_the_readme(course):
    for name in ("alpha", "beta", "gamma"):
        course.add(name, "# %%\n1\n")
    (course.module / "README.md").write_text("[b](notebooks/beta.ipynb), [a](notebooks/alpha.ipynb)")
    assert [n.name for n in runner.notebooks([])] == ["1/beta", "1/alpha", "1/gamma"]
    assert [n.name for n in runner.notebooks(["1/gamma", "1"])] == ["1/gamma", "1/beta", "1/alpha"]
    assert [n.name for n in runner.notebooks(["1_instruction_tuning/notebooks/alpha.ipynb"])] == ["1/alpha"]
    for wrong in ("2", "1/alph", "1/notebooks/", "nonsense", "11"):
        with pytest.raises(CourseError, match="1/beta, 1/alpha, 1/gamma"):
            runner.notebooks([wrong])


def test_run_measures_collects_and_reports(course, smol, monkeypatch):
    foreign = course.root / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "x", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(course.root / "jupyter"))
    notebook = course.add("plain", PLAIN)
    notebook.ipynb.write_text("a learner's own")
    done = smol("run", "1", "--set", "rate=3", "--set", "word=5")
    assert done.status == 0, done.out
    entry = _state(course)["notebooks"]["1/plain"]
    assert [(result["name"], result["value"], result["n"]) for result in entry["results"]] == [
        ("before_accuracy", 0.25, 100),
        ("after_accuracy", 0.5, 100),
        ("speed", 3.14159, None),
    ]
    assert 20 < entry["peak_mb"] < 2000 and 0 < entry["seconds"] < 30
    assert "  Accuracy: 25 % before, 50 % after (40 to 60 %, n = 100).\n" in done.out and "3.14" not in done.out
    (folder,) = course.root.glob("runs/*-1")
    assert (folder / "saved.txt").is_file(), "SMOL_RUN is not the run folder"
    executed = (folder / entry["executed"]).read_text()
    assert f"{sys.executable} 1 1 3.0 5" in executed, "wrong interpreter, environment or parameters"
    assert notebook.ipynb.read_text() == "a learner's own"
    page = (folder / "report.html").read_text()
    assert "data:image/png;base64" in page and "0.2 to 0.3" in page and "A title" in page and "3.142" in page
    assert f"runs/{folder.name}/report.html\n" in done.out.replace("\\", "/")
    assert "`smol check 1/plain` checks them" in done.out


def test_a_failing_notebook_is_named_with_cell_line_and_message(course, smol):
    course.add("a_fails", FAILS)
    course.add("b_waits", "# %%\nprint(1)\n")
    done = smol("run")
    assert done.status == 1
    assert "1/a_fails failed in cell 3 of 4" in done.out
    assert "    divide(ready - 1)\n" in done.out, "the line of the failing cell, not of the function it calls"
    assert "ZeroDivisionError: division by zero" in done.out
    assert "Traceback" not in done.out + done.err and "b_waits" not in done.out
    (kept,) = course.root.glob("runs/*/1-a_fails.ipynb")
    cells = nbformat.read(kept, as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3, None]


def test_a_kernel_that_dies_is_reported(course, smol):
    course.add("dies", "# %%\nx = 1\n\n# %%\nimport os\nos._exit(9)\n")
    done = smol("run")
    assert done.status == 1 and "1/dies failed in cell 2 of 2" in done.out and "was killed" in done.out


def test_going_on_after_a_failure(course, smol):
    count = "import pathlib\nwith open('../count_{0}', 'a') as file:\n    file.write('x')\n"
    course.add("a_first", "# %%\n" + count.format("a"))
    course.add("b_second", "# %%\n" + count.format("b") + "assert pathlib.Path('../mended').exists(), 'mend me'\n")

    def counts() -> tuple[int, int]:
        return tuple(len((course.module / f"count_{name}").read_text()) for name in "ab")

    assert smol("run").status == 1
    (course.module / "mended").touch()
    done = smol("run", "1")
    assert done.status == 0 and counts() == (1, 2)
    assert re.search(r"Going on in \S+: 1/a_first done already", done.out)
    assert len(list(course.root.glob("runs/*"))) == 1


def test_what_is_not_gone_on_with(course):
    first, second = course.add("a", "# %%\n1\n"), course.add("b", "# %%\n2\n")
    request = {"parameters": {"1/a": {}, "1/b": {}}, "hub": False}
    folder = running.new_folder("all")
    entry = {"status": "done", "sources_sha256": staleness.sources_sha256(first)}
    state = {"request": request, "finished": False, "notebooks": {"1/a": entry}}
    running._save(folder, state)
    assert running._done_before([first, second], state) == ["1/a"]
    assert running._unfinished({**request, "hub": True}) is None
    assert running._unfinished({**request, "parameters": {"1/a": {"x": 1}}}) is None
    unfinished, _, lock = running._unfinished(request)
    assert unfinished == folder
    assert running._unfinished(request) is None, "two processes in one run folder"
    lock.release()
    running._save(folder, {**state, "finished": True})
    assert running._unfinished(request) is None
    (folder / "state.json").write_text("{broken")
    assert running._unfinished(request) is None
    course.add("a", "# %%\n1 + 1\n")
    assert running._done_before([first, second], state) == [], "a changed source must run again"


@pytest.mark.parametrize("said", ["a list", None, [], {"1/a": None}, {"1/a": [1]}, {"1/a": {"status": "done"}}, "gone"])
def test_a_damaged_state_costs_a_run_and_no_more(course, said):
    """Which notebooks are done is not believed where it has another shape, or where their files are gone."""
    notebook = course.add("a", "# %%\n1\n")
    entry = {"status": "done", "sources_sha256": staleness.sources_sha256(notebook), "opened": {}, "seconds": 1.5}
    entry |= {"peak_mb": 60, "results": [{"name": "x", "value": 1}], "executed": "1-a.ipynb"}
    request = {"parameters": {"1/a": {}}, "hub": False}
    folder = running.new_folder("all")
    state = {"request": request, "finished": False, "notebooks": {"1/a": entry}}

    def going_on() -> list[str]:
        running._save(folder, state)
        found = running._unfinished(request)
        if not found:
            return []
        found[2].release()
        return running._done_before([notebook], found[1])

    nbformat.write(new_notebook(), folder / "1-a.ipynb")
    assert going_on() == ["1/a"]
    for key in entry:
        state["notebooks"] = {"1/a": entry | {key: None}}
        assert going_on() == [], key
    state["notebooks"] = {"1/a": entry | {"results": [{"name": "x", "value": "1"}]}}
    assert going_on() == []
    state["notebooks"] = {"1/a": entry} if said == "gone" else said
    (folder / "1-a.ipynb").unlink()
    assert going_on() == []
    state.pop("notebooks")
    assert going_on() == []


def test_a_run_folder_that_cannot_be_written_is_left_alone(course):
    request = {"parameters": {}, "hub": False}
    folder = running.new_folder("all")
    running._save(folder, {"request": request, "finished": False, "notebooks": {}})
    (folder / ".lock").mkdir()  # as good as a folder that is read-only, and so for the administrator, too
    assert running._unfinished(request) is None


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # which nobody waits for, and is gone
    except psutil.NoSuchProcess:
        return False


def _gone(pids: list[int]) -> bool:
    """Whether these processes end within ten seconds; what is left is killed, as it would disturb other tests."""
    left, deadline = pids, time.monotonic() + 10
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _lives(pid)]
        time.sleep(0.1)
    for pid in left:
        psutil.Process(pid).kill()
    return not left


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process")
def test_whoever_ends_smol_ends_its_kernel_and_what_that_started(course, name):
    """Also during one call into C, in which nothing inside the kernel runs, and a child in a session of its own."""
    course.add(
        "calls",
        "# %%\nprint('so far')\n\n# %%\nimport ctypes, os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "pathlib.Path('../draft').write_text(f'{os.getpid()} {child.pid}')\n"
        "os.replace('../draft', '../pids')\n"
        "ctypes.PyDLL(None).sleep(60)\n",
    )
    command = [sys.executable, "-m", "smol_course.cli", "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pids, deadline = course.module / "pids", time.monotonic() + 60
    while not pids.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    family = [int(pid) for pid in pids.read_text().split()]
    time.sleep(0.5)
    process.send_signal(signal.Signals[name])
    assert _gone(family), "the kernel, or its child, is still there"
    said, _ = process.communicate(timeout=20)
    assert "Traceback" not in said, said
    if name != "SIGKILL":
        assert process.returncode == 128 + signal.Signals[name]
        assert "Stopped in 1/calls; 0 of 1 notebooks are done and kept." in said
        (kept,) = course.root.glob("runs/*/1-calls.ipynb")
        assert "so far" in kept.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a process")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_end_of_the_terminal_is_met_as_ctrl_c_is(name):
    """In a process of its own: signals are met by whatever else a test process has loaded, too."""
    code = f"""
import os, signal, sys, time
from smol_course import cli
number = signal.{name}
def command():
    try:
        os.kill(os.getpid(), number)
        time.sleep(20)
    except KeyboardInterrupt:
        os.kill(os.getpid(), number)  # a second one breaks in nowhere
        print("ended in peace")
        sys.exit(130)
def ignoring():
    sys.exit(os.kill(os.getpid(), number))
if sys.argv[1] == "ignoring":  # nohup: what is ignored stays so
    signal.signal(number, signal.SIG_IGN)
cli.app = globals()[sys.argv[1]]
cli.main()
"""
    for app, status, said in (("command", 128 + signal.Signals[name], "ended in peace\n"), ("ignoring", 0, "")):
        words = [sys.executable, "-c", code, app]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stdout) == (status, said), done.stderr


def test_nothing_lives_on_after_a_notebook_and_what_fails_says_so(tmp_path):
    """A child in a session of its own ends with its notebook; an error that cannot be sent is one all the same."""
    child = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    cells = [f"import subprocess, sys\n{child}\nchild.pid", "1\nraise ValueError('\\ud800')"]
    node = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    done = kernel.execute(node, tmp_path, kernel.environment(None, False))
    assert _gone([int(node.cells[0].outputs[0].data["text/plain"])])
    assert done.failure.cell == 2 and "UnicodeEncodeError" in done.failure.message
    assert node.cells[1].outputs[0].ename == "UnicodeEncodeError", "the notebook that is kept says it, too"
    nbformat.validate(node)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
def test_ctrl_c_ends_the_kernel_and_the_next_run_goes_on(course, smol):
    course.add("a_quick", "# %%\nprint('quick')\n")
    slow = "# %%\nimport os, time, pathlib\npathlib.Path('../pid').write_text(str(os.getpid()))\n"
    course.add("b_slow", slow + "time.sleep(0 if pathlib.Path('../go').exists() else 60)\n")
    # A shell starts background jobs deaf to Ctrl-C; without the handler the test would be deaf in one, too.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from smol_course import cli; sys.argv = ['smol', 'run']; cli.main()"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pid = course.module / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "Task" not in said, said
    assert "Stopped in 1/b_slow; 1 of 2 notebooks are done and kept." in said and "goes on" in said
    assert not psutil.pid_exists(int(pid.read_text())), "the kernel is still there"
    assert list(_state(course)["notebooks"]) == ["1/a_quick"]
    (course.module / "go").touch()
    again = smol("run")
    assert again.status == 0 and "1/a_quick done already" in again.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "3/nothing"], "There is no notebook '3/nothing'; the targets are: all, 1, 1/plain."),
        (["run", "--set", "rat=1"], "No notebook here has a parameter 'rat'; they have: rate, steps, word."),
        (["run", "--set", "rate"], "--set rate has no value: write --set name=value."),
        (["run", "--set", "rate=fast"], "rate cannot be 'fast': it must be a number."),
        (["run", "--set", "steps=1.5"], "steps cannot be 1.5: it must be a whole number."),
        (["run", "--set", "steps=True"], "steps cannot be True: it must be a whole number."),
        (["study", "1/plain"], "1/plain has no study: plain.py is not in studies/."),
        (["check", "no/such.ipynb"], "There is no notebook no/such.ipynb"),
        (["check", "1/plain"], "1/plain has no check cells"),
    ],
)
def test_a_mistake_gets_one_sentence(course, smol, arguments, sentence):
    course.add("plain", PLAIN)
    done = smol(*arguments)
    assert done.status == 2 and done.out == ""
    assert done.err.startswith(sentence) and done.err.count("\n") == 1
    assert not (course.root / "runs").exists()


def test_parameters_must_be_literals(course):
    notebook = course.add("odd", '# %% tags=["parameters"]\na = 1\nb = a + 1\n')
    with pytest.raises(CourseError, match=r"1/odd: `b = a \+ 1` is not a simple"):
        sources.parameters(notebook.read(), notebook.name)


def test_a_misplaced_header_is_an_error(course):
    notebook = course.add("odd", "# ---\n# smol:\n#   loads: [x]\n# ---\n\n# %%\n1\n")
    with pytest.raises(CourseError, match="under `jupyter:`"):
        notebook.read()


RESIDUE = """\
# %% [markdown]
# # Residue

# %% tags=["setup"]
import sys, time
from IPython.display import display
from smol_course.metrics import record

# %%
print("12%|##  | 1/8", file=sys.stderr)
sys.stderr.flush()
for part in ("one", "two"):
    print(part)
    sys.stdout.flush()
    time.sleep(0.05)

# %%
widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "bar"}
display(widget, raw=True)
bar = "<div><progress value='3'></progress> [3/3 00:20]</div><table><td>loss</td></table>"
display({"text/html": bar}, raw=True)
record("after_accuracy", 0.414, low=0.34, high=0.48, n=96)

# %%
1

# %%
1
"""


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    """A course with one notebook that `smol build` wrote, and generated text that quotes it."""
    root = tmp_path_factory.mktemp("built")
    module = root / "1_instruction_tuning"
    (module / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    (root / "requirements.txt").write_text("torch==1\n")
    (module / "data.txt").write_text("data")
    (module / "notebooks" / "residue.py").write_text(RESIDUE)
    mark = "<!--smol:value 1/residue after_accuracy {}-->?<!--/smol-->\n"
    (module / "README.md").write_text(
        "# 1. Tuning\n[r](notebooks/residue.ipynb)\n<!--smol:costs 1--><!--/smol-->\n"
        + "".join(mark.format(form) for form in ("%ci", "%", ".2f", "x"))
    )
    (root / "README.md").write_text(
        "<!--smol:modules-->old<!--/smol--> <!--smol:address--><!--/smol--> <!--smol:colab 1/residue--><!--/smol-->"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("smol_course.runner.building.machine", lambda: "2 cores")
        assert runner.build([], False, False, False, False, Console()) == 0
    return root


@pytest.fixture
def built(course, built_once):
    """A copy of the built course."""
    shutil.copytree(built_once, course.root, dirs_exist_ok=True)
    return SimpleNamespace(notebook=runner.notebooks(["1/residue"])[0], **vars(course))


def test_build_writes_clean_notebooks_and_text(built, smol):
    node = nbformat.read(built.notebook.ipynb, as_version=4)
    text = json.dumps([cell.outputs for cell in node.cells if cell.cell_type == "code"])
    assert "1/8" not in text and "widget" not in text and "progress" not in text and "loss" in text
    assert "one\\ntwo\\n" in json.dumps(node.cells[2].outputs[0].text) and len(node.cells[2].outputs) == 1
    assert all(set(cell.metadata) <= {"tags"} for cell in node.cells)
    assert set(node.metadata) == {"kernelspec", "language_info", "smol"}
    smol_data = node.metadata.smol
    assert smol_data.machine == "2 cores" and smol_data.seconds > 0 and smol_data.peak_mb > 20
    assert [result.name for result in smol_data.results] == ["after_accuracy"]
    assert smol_data.sources_sha256 == runner.sources_sha256(built.notebook)
    assert built.notebook.ipynb.read_text().count("\n") > 100, "one line of source is one line of the file"
    ids = [cell.id for cell in node.cells]
    assert len(set(ids)) == len(ids)
    assert not list(built.root.glob("runs/*build*")), "a good build leaves no run folder"

    page = (built.module / "README.md").read_text()
    assert "-->41 % (34 to 48, n = 96)<!--" in page and "-->41 %<!--" in page
    assert "-->0.41<!--" in page and "-->0.4 times<!--" in page
    assert re.search(r"\| \[residue\]\(notebooks/residue.ipynb\) \| \d+ s \| \d+ MB \| 2 cores \|", page)
    top = (built.root / "README.md").read_text()
    assert re.search(r"\| \[1\. Tuning\]\(1_instruction_tuning/README\.md\) \| 1 \| \d+ s \| \d+ MB \|", top)
    assert "-->https://github.com/" in top and "/blob/main/1_instruction_tuning/notebooks/residue.ipynb)" in top

    # A new cell changes no other cell's id.
    built.add("residue", RESIDUE.replace("# %%\n1\n", "# %%\n0\n\n# %%\n1\n", 1))
    node = clean.tidy(built.notebook.read(), {})
    assert [cell.id for cell in node.cells if cell.source != "0"] == ids


def test_build_finds_stale_text(built, smol):
    page = built.module / "README.md"
    good = page.read_text()
    page.write_text(good.replace("41 %", "99 %"))
    assert runner.refresh_text(write=False) == ["1_instruction_tuning/README.md"]
    assert "99 %" in page.read_text()
    assert smol("build", "--text-only").status == 0 and page.read_text() == good
    page.write_text("<!--smol:vlaue 1/residue x %--><!--/smol-->")
    done = smol("build", "--text-only")
    assert done.status == 2 and "is not one of the marks" in done.err and "README.md" in done.err


def test_build_refuses_an_edited_notebook(built, smol):
    def edit(source: str) -> bytes:
        node = nbformat.read(built.notebook.ipynb, as_version=4)
        node.cells[-1].source = source
        nbformat.write(node, built.notebook.ipynb)
        return built.notebook.ipynb.read_bytes()

    # Run again in Jupyter, so only outputs differ; or a newer source: neither is an edit.
    node = nbformat.read(built.notebook.ipynb, as_version=4)
    node.cells[1].outputs = []
    nbformat.write(node, built.notebook.ipynb)
    assert not staleness.edited(built.notebook)
    built.add("residue", RESIDUE + "\n# %%\n3\n")
    assert not staleness.edited(built.notebook)
    built.add("residue", RESIDUE)

    mine = edit("mine = 1")
    done = smol("build", "1/residue")
    assert done.status == 2 and "was edited" in done.err and "--take-notebook" in done.err
    assert built.notebook.ipynb.read_bytes() == mine and built.notebook.source.read_text() == RESIDUE
    assert smol("build", "1/residue", "--take-notebook").status == 0
    assert "mine = 1" in built.notebook.source.read_text() and runner.stale(built.notebook) is None


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("import os; print('see', os.getcwd())", "cell 1 shows a path of this machine"),
        ("print('y' * 500_000)", "it has 50. KB, more than 400: cell 1 has the largest output"),
    ],
)
def test_build_refuses_what_must_not_go_into_git(course, smol, cell, reason):
    notebook = course.add("unfit", f"# %%\n{cell}\n")
    done = smol("build")
    assert done.status == 2 and re.search(reason, done.err), done.err
    assert not notebook.ipynb.exists()


def test_unfit_knows_errors_and_ignores_pictures(course):
    error = new_output("error", ename="ValueError", evalue="x", traceback=[])
    assert "ValueError" in clean.unfit(new_notebook(cells=[new_code_cell("1", outputs=[error])]), course.root)
    picture = new_output("display_data", data={"image/png": f"{course.root}/", "text/plain": "<Figure>"})
    assert clean.unfit(new_notebook(cells=[new_code_cell("1", outputs=[picture])]), course.root) is None


def test_build_keeps_the_old_outputs_when_a_notebook_fails(built, smol):
    before = built.notebook.ipynb.read_bytes()
    built.add("residue", RESIDUE + "\n# %%\nraise ValueError('new mistake')\n")
    done = smol("build")
    assert done.status == 1 and "ValueError: new mistake" in done.out
    assert built.notebook.ipynb.read_bytes() == before


STUDIED = """\
# %% tags=["parameters"]
rate = 0.5
seed = 0

# %% tags=["setup"]
import os, pathlib
from smol_course.metrics import record
log = pathlib.Path("../log")
log.write_text((log.read_text() if log.exists() else "") + f"{seed}{os.environ['SMOL_RUN'][-4:]} ")

# %%
record("after_accuracy", rate)
assert rate > 0, "it learned nothing"

# %% tags=["study"]
raise RuntimeError("no figures in a study run")

# %% tags=["exercise"]
raise RuntimeError("no exercises in a study run")
"""


def test_study_expects_failures_and_goes_on(course, smol):
    notebook = course.add("studied", STUDIED)
    runs = {
        "seed1": {"parameters": {"seed": 1}},
        "rate0": {"parameters": {"rate": 0, "seed": 2}, "fails": "learned nothing"},
    }
    notebook.study.write_text(f"RUNS = {runs!r}\n")
    assert smol("study", "1/studied", "--only", "rate0").status == 0
    done = smol("study", "1/studied")
    assert done.status == 0 and "Done already with these sources: rate0." in done.out
    assert (course.module / "log").read_text() == "2ate0 1eed1 ", "each run once, with its own folder"
    recorded = json.loads(notebook.study_results.read_text())
    assert list(recorded["runs"]) == ["seed1", "rate0"] and recorded["machine"] == "2 cores"
    assert recorded["runs"]["seed1"]["failed"] is None and recorded["runs"]["seed1"]["results"][0]["value"] == 0.5
    assert recorded["runs"]["rate0"]["failed"] == "AssertionError: it learned nothing"
    assert recorded["runs"]["rate0"]["parameters"] == {"rate": 0.0, "seed": 2}
    assert [run["defaults"] for run in recorded["runs"].values()] == [{"rate": 0.5}, {}]
    assert staleness._stale_study(notebook) is None
    notebook.study.write_text(f"RUNS = {runs | {'seed3': {'parameters': {'seed': 3}}}!r}\n")
    assert "no results of 'seed3'" in staleness._stale_study(notebook)
    notebook.study.write_text(f"RUNS = {runs!r}\n")
    assert not list(course.root.glob("runs/*")), "a study that went well keeps numbers only"

    # What the study does not run may change; what it runs may not.
    course.add("studied", STUDIED.replace("no figures", "no pictures") + "\n# %% [markdown]\n# words\n")
    assert staleness._stale_study(notebook) is None
    course.add("studied", STUDIED.replace("seed = 0", "seed = 9  # given by every run"))
    assert staleness._stale_study(notebook) is None
    course.add("studied", STUDIED.replace("rate = 0.5", "rate = 0.6"))
    assert "no results of 'seed1'" in staleness._stale_study(notebook), "the default of a rate that it does not give"
    course.add("studied", STUDIED.replace("rate > 0", "rate >= 0"))
    assert "changed after its study" in staleness._stale_study(notebook)
    done = smol("study", "1/studied")
    assert done.status == 1 and "rate0 should have failed with 'learned nothing' and did not" in done.out
    assert len((course.module / "log").read_text().split()) == 4, "changed sources run all again"
    entry = json.loads(notebook.study_results.read_text())["runs"]["rate0"]
    surprised = runs["rate0"] | {"defaults": {}}
    assert not studying._is_done(surprised, entry, course.root), "a run that surprised is tried again"


def test_study_says_what_is_wrong(course, smol):
    notebook = course.add("studied", STUDIED)
    notebook.study.write_text("RUNS = {'a': {'parameters': {'sead': 1}}}")
    done = smol("study", "1/studied")
    assert done.status == 2 and "Run 'a' sets 'sead', which is no parameter of 1/studied" in done.err
    notebook.study.write_text("RUNS = {'a': {'parameters': {}}}")
    done = smol("study", "1/studied", "--only", "b")
    assert done.status == 2 and "has no run 'b'; it has: a" in done.err
    assert studying._surprise({}, "ValueError: x") == "failed with: ValueError: x"
    assert "failed with: KeyError" in studying._surprise({"fails": "learned"}, "KeyError: 'y'")


CHECKED = """\
# %% tags=["parameters"]
size = 1

# %% tags=["setup"]
from IPython.display import display
def check(name, answer):
    verdict = "right" if answer else "not yet"
    data = {"exercise": name, "verdict": verdict, "message": f"you gave {answer}"}
    text = ("✅ " if answer else "Not yet: ") + data["message"]
    display({"application/vnd.smol.check+json": data, "text/plain": text}, raw=True)

# %%
raise RuntimeError("long training")

# %% tags=["exercise"]
answer = size

# %% tags=["check"]
check("topic/turtle", answer)

# %% tags=["exercise"]
other = None

# %% tags=["check"]
check("topic/dog", other)
"""


def test_check_runs_only_what_it_needs(course, smol, tmp_path):
    notebook = course.add("topic", CHECKED)
    done = smol("check", "1/topic")
    assert done.status == 1
    assert done.out == (
        "Checking 1/topic: 2 exercises; only the cells of its parameters, setup, exercises and checks run.\n"
        "topic/turtle: ✅ you gave 1\ntopic/dog: Not yet: you gave None\n"
    )
    node = notebook.read()
    node.cells[5].source = "other = 1\n"
    nbformat.write(node, notebook.ipynb)
    done = smol("check", "1/topic")
    assert done.status == 0 and done.out.count("✅") == 2
    before = notebook.ipynb.read_bytes()
    mine = tmp_path / "mine.ipynb"
    node.cells[3].source = "answer = 1 / 0"
    nbformat.write(node, mine)
    done = smol("check", str(mine))
    assert done.status == 1 and "`answer = 1 / 0` fails: ZeroDivisionError: division by zero" in done.out
    assert "topic/dog: ✅" in done.out and notebook.ipynb.read_bytes() == before
    node.cells[1].source = "import no_such_package"
    nbformat.write(node, mine)
    done = smol("check", str(mine))
    assert done.status == 2 and "setup" in done.err and "no_such_package" in done.err
    assert done.out.count("\n") == done.err.count("\n") == 1, "what fails after the setup fails because of it"


def _pairs(*pairs: tuple[str, str]) -> str:
    """A notebook with the setup of CHECKED and these exercises: the cell of the answer, and that of the check."""
    setup = CHECKED[: CHECKED.index("# %%\nraise")]
    return setup + "".join(f'# %% tags=["exercise"]\n{a}\n\n# %% tags=["check"]\n{b}\n\n' for a, b in pairs)


def test_check_stops_a_cell_that_does_not_end_and_judges_the_others(course, smol, monkeypatch):
    """One that an interruption ends, one that swallows it, and one that sits in a call into C, which takes the kernel
    with it: the setup runs again for those after it."""
    assert runner.checking.SECONDS >= 5 * exercises.SECONDS, "a check has a limit of its own, and comes to say so"
    assert runner.checking.SETUP_SECONDS >= 600, "setup may load a model on a busy machine"
    monkeypatch.setattr("smol_course.runner.checking.SECONDS", 1.5)
    monkeypatch.setattr("smol_course.runner.kernel.GRACE", 1)
    stubborn = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    ends = ("while 1: pass", "check('topic/turtle', 1)"), (stubborn, "check('topic/dog', 1)")
    call = "answer = sum(range(10**12))", "check('topic/lion', answer)"
    good = "answer = size", "check('topic/good', answer)"
    course.add("topic", _pairs(ends[0], good, ends[1], good, call, good))
    begun = time.monotonic()
    done = smol("check", "1/topic")
    stopped = "fails: it took longer than 1.5 seconds and was stopped"
    said = [f"Your cell that begins `{begins}` {stopped}" for begins in ("while 1: pass", "while True:", call[0])]
    right = "topic/good: ✅ you gave 1"
    assert done.status == 1 and done.err == ""
    assert done.out.splitlines()[1:] == [said[0], right, said[1], right, said[2], right]
    assert time.monotonic() - begun < 40


def test_check_says_the_first_reason_only_and_hints_at_other_cells(course, smol):
    helped = "def answer(x):\n    return helper(x)", "check('topic/dog', repr(NameError('helper')))"
    odd = "raise ValueError('\\ud800')"  # the kernel cannot even say it
    failing = ("answer = 1 / 0", "answer"), ("answer = helper(1)", "check('topic/dog', answer)"), (odd, "answer")
    done = smol("check", course.add("topic", _pairs(*failing, helped)).name)
    hint = "A check runs no other cells: let the exercise's cell define what it uses beyond the setup."
    lines = done.out.splitlines()[1:]
    assert done.status == 1 and done.err == ""
    assert lines[:3] == [
        "Your cell that begins `answer = 1 / 0` fails: ZeroDivisionError: division by zero",
        "Your cell that begins `answer = helper(1)` fails: NameError: name 'helper' is not defined",
        hint,
    ]
    assert lines[3].startswith(f"Your cell that begins `{odd}` fails: UnicodeEncodeError")
    assert lines[4:] == ["topic/dog: ✅ you gave NameError('helper')", hint], "also where the answer's own code says it"


def test_answers_of_another_shape_solve_nothing(course, smol):
    right = {"exercise": "topic/turtle", "verdict": "right"}
    forged = [[1], "right", None, {}, 7, {"exercise": 1, "verdict": "right"}, {"verdict": "right"}]
    shown = [f"display({{{exercises.CHECK!r}: {data!r}, 'text/plain': 't'}}, raw=True)" for data in forged]
    shown += [f"display({{{exercises.CHECK!r}: {right!r}}}, raw=True)", ""]
    done = smol("check", course.add("topic", _pairs(*(("answer = 1", cell) for cell in shown))).name)
    assert done.status == 1 and done.err == ""
    said = [line for line in done.out.splitlines()[1:] if "gives no answer: take it afresh from" in line]
    assert len(said) == len(shown) == len(done.out.splitlines()) - 1
    odd = f"display({{{exercises.CHECK!r}: {right | {'verdict': ['right']}!r}, 'text/plain': 't'}}, raw=True)"
    early = f"display({{{exercises.CHECK!r}: {right!r}, 'text/plain': 't'}}, raw=True)"
    done = smol("check", course.add("topic", _pairs(("", odd), (early, "1"))).name)
    assert done.status == 1 and done.out.count("topic/turtle: t") == done.out.count("gives no answer") == 1


def _bad_notebooks() -> dict[str, bytes]:
    """JSON and other bytes that are no notebook, or one whose cells have another shape."""
    cell = {"cell_type": "code", "id": "a", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
    whole = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    deep = "[" * 100_000 + "]" * 100_000
    odd = {
        "cell without source": {key: value for key, value in cell.items() if key != "source"},
        "cell without type": {key: value for key, value in cell.items() if key != "cell_type"},
        "source null": cell | {"source": None},
        "source of numbers": cell | {"source": [1]},
        "outputs null": cell | {"outputs": None},
        "metadata null": cell | {"metadata": None},
        **{f"tags {tags!r}": cell | {"metadata": {"tags": tags}} for tags in (None, 3, "check", {"check": 1}, [["x"]])},
    }
    values = {
        **{repr(value): value for value in ([1], "text", 3, None, {})},
        **{name: whole | {"cells": [bad]} for name, bad in odd.items()},
        **{f"cells {cells!r}": whole | {"cells": cells} for cells in (None, {"a": 1}, [1, None])},
        **{f"format {number!r}": whole | {"nbformat": number} for number in (5, 99, "4", None)},
        "format 2": {"nbformat": 2, "worksheets": None},
        "minor x": whole | {"nbformat_minor": "x"},
    }
    texts = {name: json.dumps(value).encode() for name, value in values.items()}
    latin = json.dumps(whole).replace('"1"', '"# é"').encode("latin-1")
    in_cell = json.dumps(whole).replace('"metadata": {}', f'"metadata": {{"x": {deep}}}').encode()
    return texts | {
        "deep": deep.encode(),
        "deep cell": in_cell,
        "empty": b"",
        "latin": latin,
        "bytes": bytes(range(256)),
    }


BAD = _bad_notebooks()


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_notebook_gets_one_sentence(course, smol, name):
    notebook = course.add("topic", CHECKED)
    notebook.ipynb.write_bytes(BAD[name])
    for arguments in (["check", str(notebook.ipynb)], ["build", "1/topic", "--take-notebook"], ["build"]):
        done = smol(*arguments)
        assert done.status == 2 and done.out == "" and done.err.count("\n") == 1, done.err
        assert re.search(r"is not a notebook that can be read|has no check cells", done.err), done.err
    assert notebook.source.read_text() == CHECKED


def test_what_cannot_be_read_gets_one_sentence(course, smol, monkeypatch):
    notebook = course.add("topic", CHECKED)
    with notebook.ipynb.open("wb") as stream:
        stream.truncate(10**10)  # no disk is used
    assert "has more than 50 MB" in smol("check", "1/topic").err
    folder = course.root / "folder.ipynb"
    folder.mkdir()
    for wrong in (folder, course.root / "no.ipynb"):
        done = smol("check", str(wrong))
        assert done.status == 2 and done.err.startswith("There is no notebook") and done.err.count("\n") == 1
    with pytest.raises(CourseError, match="cannot be read"):
        sources.read_ipynb(folder)


def test_a_check_cell_that_answers_nothing_is_not_solved(course, smol):
    """Its code is gone, or it checks something only under a condition."""
    checks = 'check("topic/turtle", answer)', 'check("topic/dog", other)'
    course.add("topic", CHECKED.replace(checks[0], "answer").replace(checks[1], "other"))
    assert smol("check", "1/topic").status == 1
    solved = CHECKED.replace("other = None", "other = 1")
    course.add("topic", solved.replace(checks[0], "answer"))
    done = smol("check", "1/topic")
    assert done.status == 1 and done.out.count("✅") == 1
    course.add("topic", solved)
    assert smol("check", "1/topic").status == 0


def test_progress_and_doctor(course, smol, monkeypatch):
    course.add("topic", CHECKED)
    exercises = [
        SimpleNamespace(id=f"topic/{n}", level=s, goal=f"do {n}") for n, s in (("turtle", "🐢"), ("dog", "🐕"))
    ]
    fake = SimpleNamespace(all_exercises=lambda: exercises, solved=lambda: {"topic/dog", "gone/lion"})
    monkeypatch.setitem(sys.modules, "smol_course.exercises", fake)
    rows = [("cores", "2", "get [more]"), ("Model", "missing", "run a notebook")]
    monkeypatch.setattr("smol_course.runner.doctor.describe", lambda: rows)
    done = smol("progress")
    assert done.status == 0 and "🐢 open  do turtle" in done.out and "🐕 ✅  do dog" in done.out
    assert "1 of 2 exercises solved." in done.out
    done = smol("doctor")
    assert done.status == 0 and "get [more]" in done.out and "run a notebook" in done.out


def test_the_environment_asks_before_it_calls_anyone(monkeypatch, tmp_path):
    monkeypatch.setenv("SMOL_RUN", "elsewhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    closed, opened = kernel.environment(None, False), kernel.environment(tmp_path, True)
    assert closed["HF_HUB_OFFLINE"] == closed["HF_DATASETS_OFFLINE"] == "1"
    assert "SMOL_RUN" not in closed and "SMOL_HUB" not in closed
    assert "HF_HUB_OFFLINE" not in opened and opened["SMOL_HUB"] == "1" and opened["SMOL_RUN"] == str(tmp_path)
    silent = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "WANDB_MODE": "disabled",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    for env in (closed, opened):
        assert {name: env.get(name) for name in silent} == silent
    assert os.environ["SMOL_RUN"] == "elsewhere"


def test_peak_memory_counts_children(tmp_path):
    child = 'import time; x = b"1" * 300_000_000; time.sleep(1)'
    source = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    cells = [new_code_cell("import os"), new_code_cell(source)]
    done = kernel.execute(new_notebook(cells=cells), Path(tmp_path), kernel.environment(None, False))
    assert done.failure is None and done.peak_mb > 300

"""The process for code: what it refuses, and that each refusal is needed."""

import os
import sys
import time
from pathlib import Path

import pytest

from smol_course.agents.sandbox import CHILD, Limits, ProcessExecutor, SandboxError, docker_command, run_once
from smol_course.agents.tools import FINAL

POSIX = pytest.mark.skipif(os.name != "posix", reason="the system limits no memory or files here")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits memory here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the code, with a secret beside it and a link that leads there."""
    inner = tmp_path / "work"
    inner.mkdir()
    (tmp_path / "secret.txt").write_text("s3cret")
    if os.name == "posix":
        (inner / "link.txt").symlink_to(tmp_path / "secret.txt")
    return inner


def ask(name: str, **_: object) -> str:
    return f"pong {name}"


# --- What it is for ------------------------------------------------------------------------------------------


def test_values_prints_and_answers_come_back() -> None:
    assert run_once("1 + 1").output == 2
    result = run_once("print('a', 1)\nprint('b')")
    assert result.logs == "a 1\nb\n" and result.output is None and not result.is_final_answer
    result = run_once(f"try:\n    {FINAL}('done')\nexcept Exception:\n    pass\nprint('never')")
    assert result.is_final_answer and result.output == "done" and result.logs == ""


def test_names_stay_and_tools_run_here() -> None:
    executor = ProcessExecutor()
    try:
        executor.send_tools({"ping": ask})
        executor.send_variables({"who": "Ana", "not_json": object()})
        executor("x = ping(who)")
        assert executor("[x, ping(name='Bo')]").output == ["pong Ana", "pong Bo"]
        with pytest.raises(SandboxError, match="NameError"):
            executor("not_json")
        assert executor("x").output == "pong Ana", "an error ends the action, not the process"
    finally:
        executor.cleanup()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = ", "SyntaxError"),
        ("nowhere()", "NameError"),
        ("import os\nos._exit(3)", "the process died"),
        ("raise SystemExit", "SystemExit"),
        ("boom()", "ValueError: from the tool"),
    ],
)
def test_what_fails_says_so(code: str, said: str) -> None:
    def boom() -> None:
        raise ValueError("from the tool")

    with pytest.raises(SandboxError, match=said):
        run_once(code, {"boom": boom})


def test_ordinary_python_works(folder: Path) -> None:
    code = """
import json, math, re, statistics, datetime, pathlib, decimal, string
from collections import Counter, namedtuple
from dataclasses import dataclass
@dataclass
class Point:
    x: int
with open("mine.txt", "w") as f:
    f.write("hello")
pathlib.Path("more.txt").write_text("there")
"""
    result = run_once(
        code + "[open('mine.txt').read(), pathlib.Path('more.txt').read_text(), Point(1).x]", folder=folder
    )
    assert result.output == ["hello", "there", 1]


# --- Limits and refusals -------------------------------------------------------------------------------------

OUT = ["open('../secret.txt').read()", "open(__import__('os').path.abspath('../secret.txt')).read()"]
OUT += ["import os\nos.read(os.open('../secret.txt', os.O_RDONLY), 9)"]
OUT += ["import pathlib\npathlib.Path('../secret.txt').read_text()"]
OUT += ["open('link.txt').read()"] if os.name == "posix" else []


@pytest.mark.parametrize("code", OUT)
def test_it_reads_nothing_outside_its_folder(folder: Path, code: str) -> None:
    with pytest.raises(SandboxError, match="PermissionError"):
        run_once(code, folder=folder)
    assert "s3cret" in str(run_once(code, folder=folder, guarded=False).output), "without the guard it does"


@pytest.mark.parametrize(
    "code",
    ["open('../new.txt', 'w').write('x')", "import os\nos.mkdir('../new')", "import os\nos.remove('../secret.txt')",
     "import os\nos.rename('mine.txt', '../new.txt')"],
)  # fmt: skip
def test_it_writes_nothing_outside_its_folder(folder: Path, code: str) -> None:
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(SandboxError, match="PermissionError"):
        run_once(code, folder=folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["secret.txt", "work"]
    run_once(code, folder=folder, guarded=False)
    assert sorted(path.name for path in folder.parent.iterdir()) != ["secret.txt", "work"], "without the guard it does"


@pytest.mark.parametrize(
    "code",
    ["import subprocess\nsubprocess.run(['echo'])", "import os\nos.system('exit 0')", "import socket\nsocket.socket()",
     "import ctypes\nctypes.CDLL(None)", "import _posixsubprocess", "import sqlite3\nsqlite3.connect('../week.db')",
     "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')"],
)  # fmt: skip
def test_it_starts_no_program_and_opens_no_connection(code: str) -> None:
    with pytest.raises(SandboxError, match="PermissionError|ModuleNotFoundError|not allowed"):
        run_once(code)


@pytest.mark.parametrize(
    "code",
    [
        "import builtins\nbuiltins.isinstance = builtins.len = lambda *a: True\nopen('../secret.txt').read()",
        "import os\nos.path.realpath = os.path.normpath = lambda p: 'mine.txt'\nopen('../secret.txt').read()",
        "class E(str):\n    def replace(self, *a): return 'mine.txt'\nopen(E('../secret.txt')).read()",
        "import sys\nsys.addaudithook(lambda *a: None)\nopen('../secret.txt').read()",
        "import os\nos.symlink('../secret.txt', 'new.txt')\nopen('new.txt').read()",
        "import os\nos.chdir('/')\nopen('etc/hostname').read()",
    ],
    ids=["builtins", "paths", "own text", "another hook", "a link", "another folder"],
)
def test_simple_ways_round_it_fail(folder: Path, code: str) -> None:
    with pytest.raises(SandboxError):
        run_once(code, folder=folder)


def test_an_endless_loop_is_stopped() -> None:
    begun = time.monotonic()
    with pytest.raises(SandboxError, match="stopped after 0.5 seconds"):
        run_once("while True:\n    pass", limits=Limits(seconds=0.5))
    assert time.monotonic() - begun < 8


def test_starting_is_not_the_codes_time_and_a_child_that_dies_at_once_is_said() -> None:
    """Fifty agents start their children together, and on two cores that takes seconds."""
    slow = f"import time, runpy; time.sleep(1); runpy.run_path({str(CHILD)!r}, run_name='__main__')"
    assert run_once("1 + 1", limits=Limits(seconds=0.7), command=[sys.executable, "-I", "-S", "-c", slow]).output == 2
    with pytest.raises(SandboxError, match="died"):
        run_once("1 + 1", command=[sys.executable, "-c", "pass"])


def test_after_a_stop_the_next_action_has_a_new_process() -> None:
    executor = ProcessExecutor(limits=Limits(seconds=2))
    try:
        with pytest.raises(SandboxError, match="stopped"):
            executor("x = 1\nwhile True:\n    pass")
        assert executor("'x' in globals()").output is False
    finally:
        executor.cleanup()


@LINUX
def test_memory_is_limited() -> None:
    big = "len(bytearray(700 * 1024 * 1024))"
    with pytest.raises(SandboxError, match="memory"):
        run_once(big, limits=Limits(memory_mb=400))
    assert run_once(big, guarded=False).output == 700 * 1024 * 1024, "without the limit it gets it"


@POSIX
def test_files_are_limited(folder: Path) -> None:
    code = "f = open('big.txt', 'wb')\nfor _ in range(40): f.write(b'x' * 100_000)\nf.close()"
    with pytest.raises(SandboxError):
        run_once(code, folder=folder)
    assert (folder / "big.txt").stat().st_size <= 1 << 20
    run_once(code, folder=folder, guarded=False)
    assert (folder / "big.txt").stat().st_size == 4_000_000, "without the limit it grows"


def test_prints_and_tool_calls_are_limited() -> None:
    assert len(run_once("for _ in range(100000): print('x' * 100)").logs) <= Limits().output
    with pytest.raises(SandboxError, match="more than 30 tool calls"):
        run_once("while True:\n    ping('a')", {"ping": ask})


def test_it_gets_no_environment_and_no_course(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOL_PLANTED", "token")
    assert run_once("import os\n'SMOL_PLANTED' in os.environ").output is False
    with pytest.raises(SandboxError, match="ModuleNotFoundError"):
        run_once("import smol_course")


def test_a_forged_message_is_no_way_out() -> None:
    code = "import __main__, json\n__main__._OUT.write(json.dumps({'call': 'os.system', 'values': ['id']}) + '\\n')"
    assert run_once(code + "\n__main__._OUT.flush()\nlen(__main__._IN.readline()) > 0").output is True


def test_docker_gets_no_network_and_one_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "docker")
    command = docker_command(folder, Limits(memory_mb=300))
    assert "--network=none" in command and "--read-only" in command and "--memory=300m" in command
    assert sum(part == "--volume" for part in command) == 2 and f"{folder.resolve()}:/sandbox" in command
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SandboxError, match="no Docker"):
        docker_command(folder, Limits())

"""The order of the tests, what several files of them share, and what every run watches: the files that they open.

What takes a minute or more comes last. A run of whole folders is shared by two processes (pytest-xdist), each with one
thread for its numbers; a run of named files stays in this one, where a debugger works. The tests of one file share
their fixtures, so they stay together, and so do all files that start kernels, as two kernels that start at the same
time may choose the same port; there, what is slow comes last within its file. And `.ci/reads.toml` stays true: a run
fails at its end where a test file opened a file that the patterns there do not give to it. The hook sees what Python
opens in this process. It sees neither what a subprocess opens (a notebook's kernel, a server) nor what safetensors
opens in Rust, so a folder of `smol_course/artifacts` counts as one thing: its configuration is opened wherever its
weights are. Python that is imported is left out, since imports tell (`.ci/affected.py`).
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
opened: defaultdict[str, set[str]] = defaultdict(set)  # by the name of the test file
_now: list[str] = []  # the test file that is imported or run; a session and its folders count as test files, too


def _affected() -> Any:
    spec = importlib.util.spec_from_file_location("affected", ROOT / ".ci" / "affected.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _watched() -> set[str]:
    """The tracked files that are no imported Python; none where git does not answer."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    return {path for path in listed.stdout.decode().split("\0") if path and not affected.is_imported(path)}


def _on(event: str, arguments: tuple) -> None:
    if event == "open" and _now and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(_BELOW) and (name := path.removeprefix(_BELOW).replace(os.sep, "/")) in WATCHED:
            opened[_now[-1]].add(name)


affected = _affected()
WATCHED = _watched()
_BELOW = str(ROOT) + os.sep
sys.addaudithook(_on)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """What is opened while a test file is imported is opened by it."""
    _now.append(collector.path.name)
    try:
        return (yield)
    finally:
        _now.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """So is what is opened while one of its tests runs, with the fixtures."""
    _now.append(item.path.name)
    try:
        return (yield)
    finally:
        _now.pop()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for whole folders, as each takes some GB; none of their own for files that are named."""
    return 0 if any(Path(name.partition("::")[0]).is_file() for name in config.args) else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out whole files, in their order; those that start kernels as one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "kernels" if "test_runner" in file else file

    return ByFile(config, log)


def _unknown() -> list[str]:
    pairs = [(test, path) for test, paths in opened.items() if test.startswith("test_") for path in paths]
    return sorted(f"{path} was opened by {test}" for test, path in pairs if test not in affected.readers(path))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what the tests of another process opened."""
    for test, paths in getattr(node, "workeroutput", {}).get("opened", {}).items():
        opened[test] |= set(paths)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where something was opened that the patterns do not know."""
    if hasattr(session.config, "workeroutput"):  # the process that started this one will say it
        session.config.workeroutput["opened"] = {test: sorted(paths) for test, paths in opened.items()}
    elif _unknown() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the patterns do not know."""
    if _unknown():
        terminalreporter.section("a pattern is missing in .ci/reads.toml", red=True)
        terminalreporter.write_line("\n".join(_unknown()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked `slow` last, so that a mistake shows in the first minutes; else the order stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture
def trl_utils(monkeypatch):
    """TRL's module without any patch; afterwards as it was."""
    module, kernels = (
        importlib.import_module("trl.trainer.utils"),
        importlib.import_module("trl.kernels.chunked_logprob"),
    )
    monkeypatch.setattr(module, "_use_triton", kernels._use_triton)
    monkeypatch.setattr(module, "_ChunkedLogProbFunction", kernels.ChunkedLogProbFunction)
    return module

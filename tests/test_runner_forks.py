"""Kernels forked from a process that has imported the libraries: they have them, and are measured as if alone."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from smol_course.runner import kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks kernels")
LOADED = "import os, sys\nprint('wave' in sys.modules, os.getppid(), os.getcwd(), os.environ.get('SMOL_RUN'))"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that load in no time: one for all kernels, one more for those that train."""
    monkeypatch.setattr(kernel, "_LIBRARIES", ("wave", "ipykernel.ipkernel", "a_library_that_nobody_has"))
    monkeypatch.setattr(kernel, "_TRAINING", ("mailbox:Mailbox",))


def ran(folder: Path, *cells: str) -> tuple[kernel.Execution, list[str]]:
    """Execute cells; return the execution and what each printed or showed first."""
    node: NotebookNode = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    done = kernel.execute(node, folder, kernel.environment(folder, False))
    outputs = [(cell.outputs or [{}])[0] for cell in node.cells]
    return done, [o.get("text") or " ".join(o.get("data", {})) for o in outputs]


@pytest.mark.usefixtures("small")
def test_forked_kernels_have_the_libraries_and_are_strangers_else(tmp_path: Path) -> None:
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
    with kernel.forked_kernels() as servers:
        before, after = (ran(place, LOADED, "x = 1", figure) for place in places)
        (server,) = servers.values()
    for (done, shown), place in zip((before, after), places, strict=True):
        assert done.failure is None
        assert shown[0].split() == ["True", str(server.pid), str(place), str(place)]
        assert "image/png" in shown[2]
    assert server.poll() is not None and not psutil.pid_exists(server.pid)
    _, alone = ran(tmp_path, LOADED)
    assert alone[0].split()[:2] == ["False", str(os.getpid())]


@pytest.mark.usefixtures("small")
def test_only_notebooks_that_train_get_what_trains(tmp_path: Path) -> None:
    ask = "import sys\nprint('mailbox' in sys.modules)"
    with kernel.forked_kernels() as servers:
        _, (plain,) = ran(tmp_path, ask)
        _, (mentions,) = ran(tmp_path, "# not from trl\n" + ask)
        _, (_, trains) = ran(tmp_path, "if False:\n    ...\nwish = '''\nfrom trl import x\n'''", ask)
        assert len(servers) == 2
    assert (plain.strip(), mentions.strip(), trains.strip()) == ("False", "False", "True")


def test_memory_is_measured_as_if_the_kernel_were_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_LIBRARIES", ("pandas", "ipykernel.ipkernel"))
    cells = ("import pandas", "import time\ntime.sleep(0.6)")
    alone, _ = ran(tmp_path, *cells)
    with kernel.forked_kernels():
        forked, _ = ran(tmp_path, *cells)
    assert forked.peak_mb == pytest.approx(alone.peak_mb, rel=0.15)


@pytest.mark.usefixtures("small")
def test_a_kernel_starts_without_a_server_that_has_died(tmp_path: Path) -> None:
    with kernel.forked_kernels() as servers:
        ran(tmp_path, LOADED)
        (server,) = servers.values()
        server.send_signal(signal.SIGKILL)
        server.wait()
        done, (shown,) = ran(tmp_path, LOADED)
    assert done.failure is None and shown.startswith("False")


@pytest.mark.usefixtures("small")
def test_a_forked_kernel_that_dies_is_reported(tmp_path: Path) -> None:
    with kernel.forked_kernels():
        done, _ = ran(tmp_path, "import os", "os.kill(os.getpid(), 9)")
    assert done.failure and done.failure.cell == 2 and kernel.KILLED in done.failure.message

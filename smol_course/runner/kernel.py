"""Execute a notebook in a kernel of its own, and measure it.

It does not know where the notebook came from or where it goes. Peak memory is the largest sum of resident sizes over
the kernel's process tree that a poll every quarter of a second saw; a shorter peak is missed.
"""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from smol_course.errors import CourseError
from smol_course.files import read_opened
from smol_course.runner.sources import tags
from smol_course.settings import cache_folder, data_folder, hub_allowed

RESULT = "application/vnd.smol.result+json"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Nothing is tracked or sent home unless the learner's notebook does it in plain sight.
_QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
_QUIET |= {"WANDB_MODE": "disabled", "GRADIO_ANALYTICS_ENABLED": "False"}
KILLED = "its process was killed, most often because memory ran out"
GRACE = 5.0  # seconds from the interruption of a cell that takes too long to the end of its kernel
# When its standard input ends, however that comes, it ends the kernel and what the kernel started. It is a process of
# its own because nothing inside the kernel runs during one long call into C, and nothing inside ours after a KILL.
_WATCH = """
import contextlib, sys, psutil
kernel = psutil.Process(int(sys.argv[1]))
sys.stdin.read()
for process in [*kernel.children(recursive=True), kernel]:
    with contextlib.suppress(psutil.Error):
        process.kill()
"""
# What most notebooks import, and what those that train do: the first kernel of either kind waits for it, no other.
# Not pyplot: it draws into the notebook only where it is imported by one.
_LIBRARIES = (
    "torch",
    "transformers:AutoModelForCausalLM",
    "datasets",
    "pandas",
    "matplotlib.axes",
    "ipykernel.ipkernel",
)
_TRAINING = ("peft", "trl:SFTTrainer")
_TRAINS = re.compile(r"^from (peft|trl)\b", re.MULTILINE)
_forks: ContextVar[dict[tuple[str, ...], subprocess.Popen] | None] = ContextVar("forks", default=None)


@dataclass(frozen=True)
class Failure:
    """Where and how a notebook failed; ``cell`` counts code cells from 1, as Jupyter's ``[k]`` does."""

    cell: int
    of: int
    line: str
    message: str


@dataclass(frozen=True)
class Execution:
    """An executed notebook with its costs: seconds of wall-clock time, peak memory in MB (10^6 bytes).

    ``opened`` are the files below the course's folder that it opened, as paths from there; ``reached`` is the number of
    the last code cell that it came to.
    """

    node: NotebookNode
    seconds: float
    peak_mb: int
    failure: Failure | None
    opened: tuple[str, ...] = ()
    reached: int = 0

    @property
    def results(self) -> list[dict[str, Any]]:
        """What `metrics.record` left in the outputs, in order; the same name later replaces."""
        every = [output for cell in self.node.cells for output in cell.get("outputs", [])]
        results = [output.get("data", {}).get(RESULT) for output in every]
        return list({r["name"]: dict(r) for r in results if isinstance(r, dict) and "name" in r}.values())


def _peak_mb(pid: int, shared: int, ended: threading.Event) -> int:
    """Poll the memory of a process and its children until the event; return the peak.

    ``shared`` are the bytes of libraries' files that it would hold alone; those untouched since a fork are not counted.
    """
    peak = 0
    while True:
        with suppress(psutil.Error):  # one of them has just ended
            process = psutil.Process(pid)
            missing = max(0, shared - getattr(process.memory_info(), "shared", shared))
            peak = max(peak, missing + sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
        if ended.wait(0.25):
            return round(peak / 1e6)


def environment(run_folder: Path | None, hub: bool) -> dict[str, str]:
    """Return the environment for a kernel: telling nobody anything, and without the Hub.

    It is allowed by ``hub`` or by ``SMOL_HUB=1``. Raises CourseError for an odd setting.
    """
    env = {**os.environ, **_QUIET, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    for name in ("SMOL_RUN", "SMOL_HUB", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        env.pop(name, None)
    env |= {"SMOL_HUB": "1"} if hub or hub_allowed() else {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    env |= {"SMOL_CACHE": str(cache_folder()), "SMOL_DATA": str(data_folder())}  # an odd one is said before it starts
    return env | ({"SMOL_RUN": str(run_folder)} if run_folder else {})


def inject(node: NotebookNode, values: dict[str, Any]) -> NotebookNode:
    """Put the values into a cell of their own after the cell tagged ``parameters``; return the same notebook."""
    if values:
        source = "\n".join(["# Given on the command line:", *(f"{name} = {value!r}" for name, value in values.items())])
        place = next(index for index, cell in enumerate(node.cells) if "parameters" in tags(cell)) + 1
        node.cells.insert(place, nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]}))
    return node


async def _settle() -> None:
    """Cancel what is still awaited, lest it goes on while the loop is used once more to end the kernel."""
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
    # Their errors are gathered only so that nobody prints them.
    await asyncio.gather(*pending, return_exceptions=True)


@contextmanager
def _watched(pid: int) -> Iterator[None]:
    """At the end of the block, or when this process is killed, the kernel and all its children are killed."""
    command = [sys.executable, "-c", _WATCH, str(pid)]
    watch = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        watch.stdin.close()
        watch.wait()
        run_sync(_settle)()


@contextmanager
def _at_most(seconds: float | None, manager: AsyncKernelManager) -> Iterator[None]:
    """Interrupt the kernel when the block takes longer than that, and kill it if it does not yield."""
    ends = (manager.interrupt_kernel, manager.provisioner.kill)
    # Each runs in a loop of its own: the main thread's waits for the cell.
    after = (seconds, seconds + GRACE) if seconds else ()
    timers = [threading.Timer(s, lambda end=end: asyncio.run(end())) for s, end in zip(after, ends, strict=False)]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def forked_kernels() -> Iterator[dict[tuple[str, ...], subprocess.Popen]]:
    """Kernels that start in this block are forked from processes that have imported their libraries.

    There is one for each set of libraries, lest a notebook be measured with the memory of some that it does not use.
    """
    servers: dict[tuple[str, ...], subprocess.Popen] = {}
    token = _forks.set(servers)
    try:
        yield servers
    finally:
        _forks.reset(token)
        for server in servers.values():
            server.communicate()  # its input ends, and so does it


def _fork(node: NotebookNode, argv: list[str], cwd: str, env: dict[str, str]) -> "_Forked | None":
    """Return a kernel with the libraries of the notebook; None where none can be forked."""
    trains = any(_TRAINS.search(cell.source) for cell in node.cells if cell.cell_type == "code")
    libraries, servers = _LIBRARIES + (_TRAINING if trains else ()), _forks.get()
    if libraries not in servers:
        command = [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py")), *libraries]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        servers[libraries] = subprocess.Popen(command, env=env, start_new_session=True, text=True, **pipes)
    server = servers[libraries]
    with suppress(OSError, ValueError, psutil.Error):  # it has died: the kernel starts without it
        server.stdin.write(json.dumps({"argv": argv, "cwd": cwd, "env": env}) + "\n")
        server.stdin.flush()
        forked = _Forked(int(server.stdout.readline()))
        forked.shared = psutil.Process(server.pid).memory_info().shared
        return forked
    return None


class _Forked(psutil.Process):
    """A kernel that is not our child, as a LocalProvisioner handles its processes; ``shared`` as for `_peak_mb`."""

    stdin, stdout, stderr, shared = None, None, None, 0

    def poll(self) -> int | None:
        return None if self.is_running() else 1


class ForkingProvisioner(LocalProvisioner):
    """Starts a kernel by forking it, for a manager that has the notebook as ``node``."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork a kernel with a command; start it as usual where that is not possible."""
        argv = cmd[cmd.index("ipykernel_launcher") :]
        forked = _fork(self.parent.node, argv, str(kwargs["cwd"]), kwargs["env"])
        if forked is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process, self.pid, self.pgid, self.cwd = forked, forked.pid, forked.pid, kwargs["cwd"]
        return self.connection_info


@contextmanager
def _kernel(node: NotebookNode, folder: Path, env: dict[str, str]) -> Iterator[NotebookClient]:
    """A client whose kernel is gone at the end, whatever happened."""
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    # Without folders to look in, it finds the Python that runs this, whatever `python3` kernels are installed.
    manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    if _forks.get() is not None and sys.platform == "linux":  # elsewhere a fork of so much is not safe
        manager.node = node
        manager.kernel_spec.metadata["kernel_provisioner"] = {"provisioner_name": "smol-fork", "config": {}}
    client = NotebookClient(node, km=manager, shutdown_kernel="immediate", allow_errors=False)
    try:
        # What a kernel says on its own standard error is for its programmers.
        with client.setup_kernel(cleanup_kc=True, cwd=str(folder), env=env, stderr=subprocess.DEVNULL):
            with _watched(manager.provisioner.pid):
                yield client
    except KeyboardInterrupt:
        # It came while the kernel was starting: the client has not begun to look after it.
        run_sync(_settle)()
        if manager.has_kernel:
            run_sync(manager.shutdown_kernel)(now=True)
        raise
    except (RuntimeError, NoSuchKernel) as error:
        if "kernel" not in str(error).lower():
            raise
        raise CourseError(f"{sys.executable} starts no notebook kernel: run `uv sync` and try again.") from error


def _failing_line(cell: NotebookNode, traceback: list[str]) -> str:
    """The line of the cell that failed, found in IPython's traceback; its first line if there is none."""
    lines = cell.source.splitlines() or [""]
    plain = _COLOUR.sub("", "\n".join(traceback))
    marked = re.search(rf"Cell In\[{cell.execution_count}\], line (\d+)", plain)
    return lines[min(int(marked[1]), len(lines)) - 1 if marked else 0].strip()


def said(cell: NotebookNode) -> str | None:
    """Return what the error among a cell's outputs says, or None if there is none."""
    raised = next((output for output in cell.outputs if output.output_type == "error"), None)
    return _COLOUR.sub("", f"{raised.ename}: {raised.evalue}".strip(" :")) if raised else None


def _failure(cell: NotebookNode, k: int, n: int, error: Exception, too_long: float | None) -> Failure:
    """How the cell failed, which its outputs say from now on if the kernel could not say it."""
    kept = [output for output in cell.outputs if output.output_type != "error"]
    traceback = [line for output in cell.outputs for line in output.get("traceback", [])]
    ename, evalue = getattr(error, "ename", ""), getattr(error, "evalue", KILLED)
    if too_long:
        ename, evalue = "", f"it took longer than {too_long:g} seconds and was stopped"
    cell.outputs = [*kept, nbformat.v4.new_output("error", ename=ename, evalue=evalue, traceback=traceback)]
    return Failure(k, n, _failing_line(cell, traceback), said(cell) or "")


def _record_opened(client: NotebookClient, root: Path, log: Path) -> None:
    """Have the kernel note what it opens, before the first cell and without a trace in the notebook."""
    given = f"Path({str(root)!r}), Path({str(log)!r})"
    code = f"from pathlib import Path\nfrom smol_course.files import record_opened\nrecord_opened({given})"
    silent = {"silent": True, "store_history": False, "output_hook": lambda message: None}
    run_sync(client.kc.execute_interactive)(f"{code}\ndel Path, record_opened", **silent)


def execute(
    node: NotebookNode,
    folder: Path,
    env: dict[str, str],
    on_cell: Callable[[int], None] = lambda k: None,
    keep_going: bool = False,
    root: Path | None = None,
    seconds: Callable[[NotebookNode], float | None] = lambda cell: None,
) -> Execution:
    """Execute a notebook's code cells in ``folder`` with the environment, filling in the outputs of ``node``.

    ``on_cell`` is called with the number of each code cell, from 1, before it runs. A failing cell ends it, unless
    ``keep_going`` and the kernel lives. ``seconds`` says how long a cell may take: then it is interrupted, and its
    kernel is killed if it does not yield. What it opens below ``root``, where that is given, is recorded. Raises
    CourseError if no kernel starts; KeyboardInterrupt passes through, with the kernel ended.
    """
    code = [(index, cell) for index, cell in enumerate(node.cells) if cell.cell_type == "code" and cell.source.strip()]
    started, failure, k = time.monotonic(), None, 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool, _kernel(node, folder, env) as client:
        log = Path(scratch) / "opened.txt"
        if root:
            _record_opened(client, root, log)
        ended = threading.Event()
        try:
            kernel = client.km.provisioner
            peak = pool.submit(_peak_mb, kernel.pid, getattr(kernel.process, "shared", 0), ended)
            for k, (index, cell) in enumerate(code, start=1):
                on_cell(k)
                limit, begun = seconds(cell), time.monotonic()
                try:
                    with _at_most(limit, client.km):
                        client.execute_cell(cell, index)
                except (CellExecutionError, DeadKernelError) as error:
                    too_long = limit if limit and time.monotonic() - begun >= limit else None
                    failed = _failure(cell, k, len(code), error, too_long)
                    failure = failure or failed
                    if not keep_going or isinstance(error, DeadKernelError):
                        break
        finally:
            ended.set()
        opened = tuple(read_opened(log)) if root else ()
    return Execution(node, time.monotonic() - started, peak.result(), failure, opened, k)

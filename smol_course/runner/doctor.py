"""``smol doctor``: what this machine has, and what to do about what is missing."""

import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook

from smol_course.errors import CourseError
from smol_course.hardware import accelerator, cpu_name, instructions, memory, threads
from smol_course.models import cache_state
from smol_course.runner.kernel import environment, execute
from smol_course.settings import cache_folder, data_folder, repository


def describe() -> list[tuple[str, str, str]]:
    """Return what this machine has, as (what, value, advice) rows; the advice is "" when nothing is short."""
    rows = []
    for what, look in _ROWS.items():
        try:
            rows.append((what, *look()))
        except (CourseError, OSError) as error:
            rows.append((what, "cannot be used", str(error)))
    return rows


def _cores() -> tuple[str, str]:
    used, remark = threads()
    slow = "" if used > 1 else "With one core, training takes about twice the minutes that the tables state."
    return str(used), f"{remark}." if remark else slow


def _memory() -> tuple[str, str]:
    total, free = memory()
    advice = "" if free >= 6 * 2**30 else "Close other programs or notebooks: a training notebook can take several GB."
    if total < 7 * 2**30:
        advice = "The notebooks need up to 8 GB: run them on a larger machine, or on Colab."
    return f"{total / 2**30:.1f} GB, {free / 2**30:.1f} GB free", advice


def _place(folder: Path, setting: str) -> tuple[str, str]:
    """Whether a folder, or the nearest one above it that exists, can be written, and the disk's free space."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    advice = "" if free > 5e9 else "Models and runs need about 5 GB: free some, or {} to a larger disk."
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        advice = f"It cannot be written ({error.strerror or error}): {{}} to where you may write."
    return f"{folder}, {free / 1e9:.1f} GB free", advice.format(setting)


def _torch() -> tuple[str, str]:
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:  # what a broken installation raises
        return f"cannot be imported ({error})", "Install the course again, as its README says."
    kinds = {"ROCm": torch.version.hip, "CUDA": torch.version.cuda}
    build = next((f"{kind} {version}" for kind, version in kinds.items() if version), "CPU")
    where, fault = accelerator()
    name = torch.cuda.get_device_name(0) if where == "cuda" else {"mps": "Apple GPU", "cpu": "no GPU used"}[where]
    if where == "cpu" and not fault and shutil.which("nvidia-smi"):
        fault = "There is an NVIDIA driver, but this torch cannot use it: install torch as pytorch.org says."
    return f"{torch.__version__.split('+')[0]} ({build} build), {name}", fault


def _instructions() -> tuple[str, str]:
    known = instructions()
    with suppress(Exception):  # torch's own name where the system tells nothing, as on Windows
        import torch

        known = known or torch.backends.cpu.get_cpu_capability()
    advice = "" if "bf16" in known else "No bf16 instructions: training on this CPU uses float32 and takes longer."
    return f"{cpu_name()}, {known or 'unknown'}", advice


def _kernel() -> tuple[str, str]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = execute(new_notebook(cells=[new_code_cell("1 + 1")]), Path(folder), environment(None, False))
    if done.failure:
        return f"fails ({done.failure.message})", "Install the course again, as its README says."
    return f"starts, and ran a cell in {time.monotonic() - start:.1f} s", ""


_ROWS: dict[str, Callable[[], tuple[str, str]]] = {
    "Python": lambda: (platform.python_version(), ""),
    "Cores": _cores,
    "Memory": _memory,
    "Cache": lambda: _place(cache_folder(), "set SMOL_CACHE"),
    "Data": lambda: _place(data_folder(), "set SMOL_DATA"),
    "Runs": lambda: _place(repository() / "runs", "move the course"),
    "PyTorch": _torch,
    "Instruction set": _instructions,
    "Notebook kernel": _kernel,
    "Model": cache_state,
}

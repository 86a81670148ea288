"""``smol doctor``: what this machine has, and what to do about what is missing."""

import os
import platform
import shutil
import sys
from contextlib import suppress

from smol_course.hardware import cpu_name, device, instructions, memory, physical_cores
from smol_course.settings import cache_folder


def describe() -> list[tuple[str, str, str]]:
    """Return what this machine has, as (what, value, advice) rows; the advice is "" when nothing is short."""
    return [_python_row(), _cores_row(), _memory_row(), _disk_row(), *_torch_rows(), _instructions_row()]


def _python_row() -> tuple[str, str, str]:
    right = sys.version_info >= (3, 11)
    advice = "" if right else "The course needs Python 3.11: `uv sync` installs one, or get it from python.org."
    return "Python", platform.python_version(), advice


def _cores_row() -> tuple[str, str, str]:
    cores = physical_cores()
    advice = "" if cores > 1 else "With one core, training takes about twice the minutes that the tables state."
    if os.environ.get("OMP_NUM_THREADS"):
        return "Cores", f"{cores} (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} decides)", advice
    return "Cores", str(cores), advice


def _memory_row() -> tuple[str, str, str]:
    total, free = memory()
    advice = ""
    if total < 7 * 2**30:
        advice = "The notebooks need up to 8 GB: run them on a larger machine, or on Colab."
    elif free < 6 * 2**30:
        advice = "Close other programs or notebooks: a training notebook can take several GB."
    return "Memory", f"{total / 2**30:.1f} GB, {free / 2**30:.1f} GB free", advice


def _disk_row() -> tuple[str, str, str]:
    folder = cache_folder()
    # The cache may not exist yet: ask about the nearest folder that does.
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    advice = "" if free > 5e9 else "Models and runs need about 5 GB: free some, or set SMOL_CACHE to a larger disk."
    return "Disk", f"{free / 1e9:.1f} GB free at {there}", advice


def _torch_rows() -> list[tuple[str, str, str]]:
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:  # what a broken installation raises
        return [("PyTorch", f"cannot be imported ({error})", "Install the course again, as its README says.")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    if torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    where = device()
    name = {"cuda": lambda: torch.cuda.get_device_name(0), "mps": lambda: "Apple GPU", "cpu": lambda: "none"}[where]()
    advice = ""
    if where == "cpu" and shutil.which("nvidia-smi"):
        advice = "There is an NVIDIA driver, but this torch cannot use it: install torch as pytorch.org says."
    version = torch.__version__.split("+")[0]
    return [("PyTorch", f"{version} ({build} build)", ""), ("Accelerator", name, advice)]


def _instructions_row() -> tuple[str, str, str]:
    known = instructions()
    with suppress(Exception):  # torch's own name where the system tells nothing, as on Windows
        import torch

        known = known or torch.backends.cpu.get_cpu_capability()
    advice = "" if "bf16" in known else "No bf16 instructions: training on this CPU uses float32 and takes longer."
    return "Instruction set", f"{cpu_name()}, {known or 'unknown'}", advice

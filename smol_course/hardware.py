"""What this machine can do, and the settings that make training on it quick.

`prepare` is the one place that touches threads, the memory allocator and the choice of precision, and on a CPU it
applies the patches of `smol_course.patches`. What it does not know: which model will run (the probe multiplies matrices
of SmolLM2-135M's shapes), what other programs take away later, and whether bfloat16 trains well on Apple's GPUs (it
leaves them at float32).
"""

import ctypes
import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from smol_course import patches

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")
# One batch through SmolLM2-135M's widest layer: 1,536 tokens, from 576 to 1,536 features.
_PROBE_SHAPE = (1536, 576, 1536)
# Autocast also costs casts, so bfloat16 has to win clearly in plain matrix products to win in training.
_CLEARLY = 1.3
# In order of speed; the first that a CPU has is named.
_INSTRUCTIONS = {
    "amx_bf16": "AMX bf16",
    "avx512_bf16": "AVX-512 bf16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "bf16": "Arm bf16",
    "asimd": "NEON",
}


@dataclass(frozen=True)
class Machine:
    """What a notebook's trainer needs to know about this machine.

    Attributes:
        device: where the model runs: "cuda", "mps" or "cpu".
        cores: CPU threads that torch uses.
        bf16: train under bfloat16 autocast (``SFTConfig(bf16=here.bf16)``), as the probe found it faster.
        attention: for ``from_pretrained(attn_implementation=...)``.
        optimizer: for ``SFTConfig(optim=...)``.
        float32_rate, bf16_rate: matrix products per second as the probe timed them, in GFLOP/s.
    """

    device: str
    cores: int
    bf16: bool
    attention: str
    optimizer: str
    float32_rate: float
    bf16_rate: float


def prepare() -> Machine:
    """Set this process up for quick training, print one line about it, and return what was found.

    Call it in a notebook's setup cell, before or after importing TRL; a second call changes nothing.
    """
    patches.silence_known_warnings()
    machine, keeps_memory = _set_up()
    done = ["memory kept between steps"] if keeps_memory else []
    if machine.device == "cpu":
        done += patches.for_cpu()
    precision = "bf16" if machine.bf16 else "float32"
    rates = f"{machine.bf16_rate:.0f} GFLOP/s in bf16, {machine.float32_rate:.0f} in float32"
    print(
        "; ".join([f"Machine: {machine.device}, {_count(machine.cores, 'core')}, {precision} ({rates})", *done]) + "."
    )
    return machine


@cache
def _set_up() -> tuple[Machine, bool]:
    """Threads, allocator and probe, once a process: the machine, and whether the allocator keeps memory."""
    import torch

    cores = _threads()
    torch.set_num_threads(cores)
    keeps_memory = _keep_memory()
    where = device()
    float32, bf16 = matmul_rate(torch.float32, where), matmul_rate(torch.bfloat16, where)
    machine = Machine(
        device=where,
        cores=cores,
        bf16=where != "mps" and bf16 >= _CLEARLY * float32,
        # At the course's short sequences, the backward of sdpa's CPU kernel costs 13 % of a training step.
        attention="eager" if where == "cpu" else "sdpa",
        optimizer="adamw_torch_fused",
        float32_rate=float32,
        bf16_rate=bf16,
    )
    return machine, keeps_memory


def matmul_rate(dtype: "torch.dtype", device: str = "cpu", seconds: float = 0.12) -> float:
    """Return how fast this machine multiplies matrices of the model's shapes, in GFLOP/s.

    The best of the repeats that fit into ``seconds``, because only interruptions make one slower. 0 when the device
    cannot multiply this dtype.
    """
    import torch

    rows, inner, columns = _PROBE_SHAPE
    try:
        x = torch.randn(rows, inner, device=device).to(dtype)
        weight = torch.randn(columns, inner, device=device).to(dtype)
        best = min(_timed_products(x, weight, device, seconds))
    except (RuntimeError, TypeError):
        return 0.0
    return 2 * rows * inner * columns / best / 1e9


def _timed_products(x: "torch.Tensor", weight: "torch.Tensor", device: str, seconds: float) -> list[float]:
    """Seconds per product, timed four at a time until the time is up (after one unmeasured product)."""
    import torch

    def wait() -> None:
        if device != "cpu":
            torch.accelerator.synchronize()

    torch.nn.functional.linear(x, weight)
    wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(4):
            torch.nn.functional.linear(x, weight)
        wait()
        times.append((time.perf_counter() - start) / 4)
    return times


def device() -> str:
    """Return where models run: "cuda", "mps" or "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _threads() -> int:
    """One thread per physical core that this process may use; OMP_NUM_THREADS, when set, decides instead."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    return physical_cores()


def physical_cores() -> int:
    """Return how many physical cores this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores)


def _keep_memory() -> bool:
    """Tell glibc to keep freed buffers, and say whether it does.

    By default it hands each large one back to the kernel and faults its pages in again, at every step.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    # M_MMAP_THRESHOLD: buffers below 32 MiB, nearly all, come from the heap. The few as large as the embedding do
    # not: kept there, they leave holes, and a run of varied batches took a gigabyte more at the same speed.
    kept = mallopt(-3, 32 << 20)
    # M_TRIM_THRESHOLD: give back only what is free beyond 2 GiB. M_TOP_PAD: grow by 256 MiB at a time.
    return bool(kept and mallopt(-1, (1 << 31) - 1) and mallopt(-2, 256 << 20))


# --- Describing the machine --------------------------------------------------------------------------------


def describe_short() -> str:
    """Return the machine in a few words, as "2 cores, 24 GB, AMD EPYC, AVX-512 bf16" (no torch needed)."""
    total, _ = memory()
    parts = [_count(physical_cores(), "core"), f"{total / 2**30:.0f} GB", cpu_name(), instructions()]
    return ", ".join(part for part in parts if part)


def memory() -> tuple[int, int]:
    """Return total and free memory in bytes, within a container's limit where there is one (cgroup 2, then 1)."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # ValueError: the limit reads "max"
            allowed = int((_CGROUP / limit).read_text())
            free = min(free, allowed - int((_CGROUP / used).read_text()))
            total = min(total, allowed)
    return total, max(0, free)


@cache
def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, or no fields where there is no such file."""
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {name.strip().lower(): value.strip() for name, _, value in pairs}
    return {}


def instructions() -> str:
    """Return the best of the CPU's vector instructions in words; "" where the system does not tell."""
    if platform.system() == "Darwin":
        names = {
            "hw.optional.arm.FEAT_BF16": "Arm bf16",
            "hw.optional.neon": "NEON",
            "hw.optional.avx2_0": "AVX2",
        }
        return next((words for key, words in names.items() if _sysctl(key) == "1"), "")
    fields = _cpu_fields()
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    return next((words for flag, words in _INSTRUCTIONS.items() if flag in flags), "")


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return _cpu_fields().get("model name") or platform.processor() or platform.machine()


@cache
def _sysctl(key: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["sysctl", "-n", key], check=False, capture_output=True, text=True, timeout=5
        ).stdout.strip()
    return ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"

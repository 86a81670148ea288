"""What this machine can do, and the settings that make training on it quick.

`prepare` is the one place that touches threads, the memory allocator and the choice of precision, and on a CPU it
applies the patches of `smol_course.patches`. What it does not know: which model will run (the probe multiplies matrices
of SmolLM2-135M's shapes), what other programs take away later, and whether bfloat16 trains well on Apple's GPUs (it
leaves them at float32).
"""

import ctypes
import math
import os
import platform
import re
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smol_course import patches
from smol_course.settings import bounded

_CGROUP = Path("/sys/fs/cgroup")
# One batch through SmolLM2-135M's widest layer: 1,536 tokens, from 576 to 1,536 features.
_PROBE_SHAPE = (1536, 576, 1536)
# Autocast also costs casts, so bfloat16 has to win clearly in plain matrix products to win in training.
_CLEARLY = 1.3
# In order of speed; the first that a CPU has is named.
_INSTRUCTIONS = {"amx_bf16": "AMX bf16", "avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
_INSTRUCTIONS |= {"bf16": "Arm bf16", "asimd": "NEON", "neon": "NEON"}


@dataclass(frozen=True)
class Machine:
    """What a notebook's trainer needs to know about this machine."""

    device: str  # where the model runs: "cuda", "mps" or "cpu"
    cores: int  # CPU threads that torch uses
    bf16: bool  # train under bfloat16 autocast (``SFTConfig(bf16=here.bf16)``), as the probe found it faster
    attention: str  # for ``from_pretrained(attn_implementation=...)``
    optimizer: str  # for ``SFTConfig(optim=...)``
    float32_rate: float  # matrix products as the probe timed them, in GFLOP/s
    bf16_rate: float


def prepare() -> Machine:
    """Set this process up for quick training, print one line about it, and return what was found.

    Call it in a notebook's setup cell, before or after importing TRL; a second call changes nothing.
    """
    patches.silence_known_warnings()
    machine, keeps_memory = _set_up()
    done = ["memory kept between steps" * keeps_memory, threads()[1]]
    done += patches.for_cpu() if machine.device == "cpu" else []
    precision = "bf16" if machine.bf16 else "float32"
    rates = f"{machine.bf16_rate:.0f} GFLOP/s in bf16, {machine.float32_rate:.0f} in float32"
    if fault := accelerator()[1]:
        print(fault)
    line = f"Machine: {machine.device}, {_cores(machine.cores)}, {precision} ({rates})"
    print("; ".join(filter(None, [line, *done])) + ".")
    return machine


@cache
def _set_up() -> tuple[Machine, bool]:
    """Threads, allocator and probe, once a process: the machine, and whether the allocator keeps memory."""
    import torch

    cores, where = threads()[0], accelerator()[0]
    torch.set_num_threads(cores)
    keeps_memory = _keep_memory()
    float32, bf16 = matmul_rates(where)
    quick = where != "mps" and 0 < _CLEARLY * float32 <= bf16
    # At the course's short sequences, the backward of sdpa's CPU kernel costs 13 % of a training step.
    attention = "eager" if where == "cpu" else "sdpa"
    return Machine(where, cores, quick, attention, "adamw_torch_fused", float32, bf16), keeps_memory


def matmul_rates(device: str = "cpu", seconds: float = 0.24) -> list[float]:
    """Return how fast this machine multiplies matrices of the model's shapes in float32 and in bfloat16, in GFLOP/s.

    They take turns until the time is up, because another program may run meanwhile; the best turn of each counts,
    because only interruptions make one slower. 0 for what the device cannot multiply.
    """
    import torch

    def one_turn(x: torch.Tensor, weight: torch.Tensor) -> float:
        start = time.perf_counter()
        for _ in range(products):
            torch.nn.functional.linear(x, weight)
        if device != "cpu":
            torch.accelerator.synchronize()
        return (time.perf_counter() - start) / products

    products = 1 if device == "cpu" else 4  # a GPU is waited for only after some
    (rows, inner, columns), dtypes, able = _PROBE_SHAPE, (torch.float32, torch.bfloat16), {}
    for dtype in dtypes:
        with suppress(Exception):  # many kinds, and not all are torch's
            both = [torch.randn(size, inner, device=device).to(dtype) for size in (rows, columns)]
            one_turn(*both)  # not measured
            able[dtype] = both
    best, end = dict.fromkeys(dtypes, math.inf), time.perf_counter() + seconds
    while able and (math.inf in [best[dtype] for dtype in able] or time.perf_counter() < end):
        best |= {dtype: min(best[dtype], one_turn(*both)) for dtype, both in able.items()}
    return [2 * rows * inner * columns / best[dtype] / 1e9 for dtype in dtypes]


@cache
def accelerator() -> tuple[str, str]:
    """Return where models run, and in one sentence why a GPU that is there is not used, or ""."""
    import torch

    gpu = next((name for name, api in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if api.is_available()), "")
    if not gpu:
        return "cpu", ""
    try:
        bounded(10, lambda: _small_operation(gpu))
    except Exception as error:  # many kinds, of several lines
        fault = f"{error}".partition("\n")[0].rstrip(".") or "no answer in 10 seconds"
        # Libraries ask for themselves, and would take it.
        for api in (torch.cuda, torch.backends.mps):
            api.is_available = lambda: False
        return "cpu", f"The {gpu} device is there but fails at a small product ({fault}), so the CPU is used."
    return gpu, ""


def _small_operation(gpu: str) -> None:
    """A product, forward and backward. Raises what the device raises, or ValueError for a wrong result."""
    import torch

    x = torch.ones(8, 8, device=gpu, requires_grad=True)
    (x @ x).sum().backward()
    if (total := x.grad.sum().item()) != 1024:
        raise ValueError(f"it gives {total:g} in the place of 1024")


def threads() -> tuple[int, str]:
    """Return how many threads torch uses, by OMP_NUM_THREADS or one per physical core; and a remark on an odd wish."""
    wish = os.environ.get("OMP_NUM_THREADS", "").strip()
    if re.fullmatch(r"0*[1-9][0-9]{,3}", wish) and int(wish) <= 4 * (os.cpu_count() or 1):
        return int(wish), ""
    return physical_cores(), wish and f"OMP_NUM_THREADS={wish} is no number of threads for this machine, so not used"


def physical_cores() -> int:
    """Return how many physical cores this process may use."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return min(cores, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else cores


def _keep_memory() -> bool:
    """Tell glibc to keep freed buffers, and say whether it does: by default each large one costs page faults a step."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        with suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL("libc.so.6").mallopt
            # M_MMAP_THRESHOLD: buffers below 32 MiB, nearly all, come from the heap. The few as large as the embedding
            # do not: kept there, they leave holes, and a run of varied batches took a gigabyte more at the same speed.
            # M_TRIM_THRESHOLD: give back only what is free beyond 2 GiB. M_TOP_PAD: grow by 256 MiB at a time.
            return bool(mallopt(-3, 32 << 20) and mallopt(-1, (1 << 31) - 1) and mallopt(-2, 256 << 20))
    return False


def describe_short() -> str:
    """Return the machine in a few words, as "2 cores, 24 GB, AMD EPYC, AVX-512 bf16" (no torch needed)."""
    parts = [_cores(physical_cores()), f"{memory()[0] / 2**30:.0f} GB", cpu_name(), instructions()]
    return ", ".join(part for part in parts if part)


def memory() -> tuple[int, int]:
    """Return total and free memory in bytes, within a container's limit where there is one (cgroup 2, then 1)."""
    import psutil

    memory = psutil.virtual_memory()
    total, free, first = memory.total, memory.available, "memory/memory."
    for limit, used in (("memory.max", "memory.current"), (f"{first}limit_in_bytes", f"{first}usage_in_bytes")):
        with suppress(OSError, ValueError):  # ValueError: the limit reads "max"
            allowed = int((_CGROUP / limit).read_text())
            free = min(free, allowed - int((_CGROUP / used).read_text()))
            total = min(total, allowed)
    return total, max(0, free)


@cache
def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, on a Mac what sysctl tells, or no fields; names in lower case."""
    with suppress(OSError, subprocess.SubprocessError):
        if platform.system() == "Darwin":
            command = ["sysctl", "machdep.cpu.brand_string", "hw.optional"]
            text = subprocess.run(command, check=False, capture_output=True, text=True, timeout=5).stdout
        else:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        pairs = (line.partition(":") for line in text.splitlines())
        return {name.strip().lower(): value.strip() for name, _, value in pairs}
    return {}


def instructions() -> str:
    """Return the best of the CPU's vector instructions in words; "" where the system does not tell."""
    fields = _cpu_fields()
    mac = (name.rpartition(".")[2] for name, value in fields.items() if value == "1")
    flags = {name.removeprefix("feat_").removesuffix("_0") for name in mac}
    flags |= set((fields.get("flags") or fields.get("features") or "").split())
    return next((words for flag, words in _INSTRUCTIONS.items() if flag in flags), "")


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    fields = _cpu_fields()
    named = fields.get("model name") or fields.get("machdep.cpu.brand_string")
    return named or platform.processor() or platform.machine()


def _cores(number: int) -> str:
    return f"{number} core{'s' * (number != 1)}"

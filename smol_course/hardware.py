"""What this machine can do, and the settings that make training on it quick.

`prepare` is the one place that touches threads, the memory allocator, TRL's loss, Llama's norms and torch's
linear layers on a CPU, and the choice of precision. What it does not know: which model will run (the probe
multiplies matrices of SmolLM2-135M's shapes), what other programs take away later, and whether bfloat16 trains
well on Apple's GPUs (it leaves them at float32).
"""

import ctypes
import importlib.util
import inspect
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from smol_course.settings import cache_folder

if TYPE_CHECKING:
    import torch

_CGROUP = Path("/sys/fs/cgroup")
_TRL, _LLAMA = "trl.trainer.utils", "transformers.models.llama.modeling_llama"
_LINEAR = "torch.nn.modules.linear"
# What TRL's chunked function takes, and which of its outputs SFT asks for.
_LOGPROB_PARAMETERS = ["ctx", "hidden", "weight", "bias", "targets", "temperature", "chunk_size"]
_LOGPROB_PARAMETERS += ["final_logit_softcapping", "logit_scale", "outputs"]
_SFT_OUTPUTS = ("log_probs", "entropy", "is_top1")
# 512 MB of float32: beyond it, memory matters more than speed.
_MOST_LOGITS = 1 << 27
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
    machine, keeps_memory = _set_up()
    done = ["memory kept between steps"] if keeps_memory else []
    if machine.device == "cpu":
        done += ["only labelled tokens scored"] if _patch(_TRL) else []
        done += ["norms fused"] if _patch(_LLAMA) else []
        done += ["output weights not copied"] if _patch(_LINEAR) else []
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
    device = _device()
    float32, bf16 = matmul_rate(torch.float32, device), matmul_rate(torch.bfloat16, device)
    machine = Machine(
        device=device,
        cores=cores,
        bf16=device != "mps" and bf16 >= _CLEARLY * float32,
        # At the course's short sequences, the backward of sdpa's CPU kernel costs 13 % of a training step.
        attention="eager" if device == "cpu" else "sdpa",
        optimizer="adamw_torch_fused",
        float32_rate=float32,
        bf16_rate=bf16,
    )
    return machine, keeps_memory


def matmul_rate(dtype: "torch.dtype", device: str = "cpu", seconds: float = 0.12) -> float:
    """Return how fast this machine multiplies matrices of the model's shapes, in GFLOP/s.

    The best of the repeats that fit into ``seconds``, because only interruptions make one slower. 0 when the
    device cannot multiply this dtype.
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


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _threads() -> int:
    """One thread per physical core that this process may use; OMP_NUM_THREADS, when set, decides instead."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    return _physical_cores()


def _physical_cores() -> int:
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


# --- Patches for a CPU: each leaves the library as it is, and says so, when what it replaces has changed ----


def _patch(name: str) -> bool:
    """Patch a module now, or when a notebook imports it (which takes seconds, so it is not done here)."""
    if name in sys.modules:
        return _PATCHES[name](sys.modules[name])
    if importlib.util.find_spec(name.split(".")[0]) is None:
        return False
    if not any(isinstance(finder, _OnImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnImport(name))
    return True


class _OnImport(MetaPathFinder):
    """Waits for the import of one module, steps aside, and patches the module once it is loaded."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_patch(module: ModuleType) -> None:
            load(module)
            _PATCHES[fullname](module)

        spec.loader.exec_module = load_and_patch
        return spec


def _score_labelled_only(module: ModuleType) -> bool:
    """Make TRL's loss cheap on a CPU, and say whether that was done.

    The output layer, 49,152 words wide, is the largest. TRL sends prompt and padding through it too, except
    on GPUs with Triton, and sets their loss to zero. `_use_triton` decides that, for its one caller here.
    """
    ask, theirs = getattr(module, "_use_triton", None), getattr(module, "_ChunkedLogProbFunction", None)
    if isinstance(theirs, _PlainLogProbs):
        return True
    # Were `_use_triton` also to choose kernels here, a true answer would start Triton on a CPU.
    if ask is None or _calls(module, "_use_triton") != 1 or _parameters(theirs) != _LOGPROB_PARAMETERS:
        print("This TRL computes its loss in a way unknown to the course: it runs as it is, slower on a CPU.")
        return False
    module._use_triton = lambda device: device.type == "cpu" or ask(device)  # type: ignore[attr-defined]
    module._ChunkedLogProbFunction = _PlainLogProbs(theirs)  # type: ignore[attr-defined]
    return True


class _PlainLogProbs:
    """Stands where TRL has its chunked log-probabilities, and computes those of SFT in one piece on a CPU.

    TRL saves memory on GPUs by going through the vocabulary in chunks, twice, and adding gradients up in
    float32. The labelled positions of a small batch fit as they are, in one product in autocast's precision.
    """

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def apply(
        self, hidden: "torch.Tensor", weight: "torch.Tensor", bias: Any, targets: "torch.Tensor", *rest: Any
    ) -> Any:
        """Return (log_probs, entropy, None, None, is_top1), each [positions]; entropy has no gradient."""
        import torch

        temperature, _, softcap, scale, outputs = rest
        plain = (temperature, softcap, scale, tuple(outputs)) == (1.0, None, 1.0, _SFT_OUTPUTS)
        if hidden.device.type != "cpu" or not plain or len(hidden) * len(weight) > _MOST_LOGITS:
            return self.theirs.apply(hidden, weight, bias, targets, *rest)
        # [positions, vocabulary]
        log_probs = torch.nn.functional.linear(hidden, weight, bias).float().log_softmax(-1)
        with torch.no_grad():
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            is_top1 = log_probs.argmax(-1) == targets
        return log_probs.gather(-1, targets[:, None])[:, 0], entropy, None, None, is_top1


def _fuse_norms(module: ModuleType) -> bool:
    """Let Llama's normalisation be torch's own single operation instead of six; say whether that was done."""
    norm = getattr(module, "LlamaRMSNorm", None)
    theirs = getattr(norm, "forward", None)
    if getattr(theirs, "fused", False):
        return True
    if _parameters(norm) != ["hidden_size", "eps"] or _parameters(theirs) != ["self", "hidden_states"]:
        print("This transformers normalises in a way unknown to the course: it runs as it is, slower on a CPU.")
        return False

    def forward(self: Any, hidden_states: "torch.Tensor") -> "torch.Tensor":
        import torch

        # With mixed precisions the library's result has a wider dtype than torch's.
        if hidden_states.device.type != "cpu" or hidden_states.dtype != self.weight.dtype:
            return theirs(self, hidden_states)
        shape = hidden_states.shape[-1:]
        return torch.nn.functional.rms_norm(hidden_states, shape, self.weight, self.variance_epsilon)

    forward.fused = True  # type: ignore[attr-defined]
    norm.forward = forward  # type: ignore[union-attr]
    return True


def _close_gaps(module: ModuleType) -> bool:
    """Let a linear layer get its rows without gaps between them when nothing is trained; say whether that was done.

    To write the first token of an answer, `generate` sends the last position of each prompt through the output
    layer: a view with gaps. By frozen weights, such as an adapter's base, torch multiplies it row by row, and in
    bfloat16 it copies the weights for each row, 57 MB for a vocabulary of 49,152 tokens.
    """
    layer = getattr(module, "Linear", None)
    theirs = getattr(layer, "forward", None)
    if getattr(theirs, "closes_gaps", False):
        return True
    if _parameters(theirs) != ["self", "input"]:
        print("This torch has linear layers unknown to the course: they run as they are, slower on a CPU.")
        return False

    def forward(self: Any, input: "torch.Tensor") -> "torch.Tensor":
        import torch

        if input.device.type == "cpu" and not torch.is_grad_enabled():
            input = input.contiguous()
        return theirs(self, input)

    forward.closes_gaps = True  # type: ignore[attr-defined]
    layer.forward = forward  # type: ignore[union-attr]
    return True


_PATCHES = {_TRL: _score_labelled_only, _LLAMA: _fuse_norms, _LINEAR: _close_gaps}


def _parameters(function: Any) -> list[str]:
    """The parameter names of a function, a class or an autograd function's forward; [] for none of these."""
    function = getattr(function, "forward", None) if hasattr(function, "backward") else function
    return list(inspect.signature(function).parameters) if callable(function) else []


def _calls(module: ModuleType, function: str) -> int:
    """How often a module's source calls an imported function; 0 when there is no source to read."""
    with suppress(OSError, TypeError):
        return inspect.getsource(module).count(f"{function}(")
    return 0


# --- Describing the machine --------------------------------------------------------------------------------


def describe_short() -> str:
    """Return the machine in a few words, as "2 cores, 24 GB, AMD EPYC, AVX-512 bf16" (no torch needed)."""
    total, _ = _memory()
    parts = [_count(_physical_cores(), "core"), f"{total / 2**30:.0f} GB", _cpu_name(), _instructions()]
    return ", ".join(part for part in parts if part)


def describe() -> list[tuple[str, str, str]]:
    """Return what this machine has, as (what, value, advice) rows; the advice is "" when nothing is short."""
    return [_python_row(), _cores_row(), _memory_row(), _disk_row(), *_torch_rows(), _instructions_row()]


def _python_row() -> tuple[str, str, str]:
    right = sys.version_info >= (3, 11)
    advice = "" if right else "The course needs Python 3.11: `uv sync` installs one, or get it from python.org."
    return "Python", platform.python_version(), advice


def _cores_row() -> tuple[str, str, str]:
    cores = _physical_cores()
    advice = "" if cores > 1 else "With one core, training takes about twice the minutes that the tables state."
    if os.environ.get("OMP_NUM_THREADS"):
        return "Cores", f"{cores} (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} decides)", advice
    return "Cores", str(cores), advice


def _memory_row() -> tuple[str, str, str]:
    total, free = _memory()
    advice = ""
    if total < 7 * 2**30:
        advice = "The notebooks need up to 8 GB: run them on a larger machine, or on Colab."
    elif free < 6 * 2**30:
        advice = "Close other programs or notebooks: a training notebook can take several GB."
    return "Memory", f"{total / 2**30:.1f} GB, {free / 2**30:.1f} GB free", advice


def _memory() -> tuple[int, int]:
    """Total and free memory in bytes, within a container's limit where there is one (cgroup 2, then 1)."""
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
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # a broken installation raises many kinds, and the doctor must name it
        return [("PyTorch", f"cannot be imported ({error})", "Install the course again, as its README says.")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    if torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    device = _device()
    name = {"cuda": lambda: torch.cuda.get_device_name(0), "mps": lambda: "Apple GPU", "cpu": lambda: "none"}[device]()
    advice = ""
    if device == "cpu" and shutil.which("nvidia-smi"):
        advice = "There is an NVIDIA driver, but this torch cannot use it: install torch as pytorch.org says."
    version = torch.__version__.split("+")[0]
    return [("PyTorch", f"{version} ({build} build)", ""), ("Accelerator", name, advice)]


def _instructions_row() -> tuple[str, str, str]:
    found = _instructions()
    with suppress(Exception):  # torch's own name where the system tells nothing, as on Windows
        import torch

        found = found or torch.backends.cpu.get_cpu_capability()
    advice = "" if "bf16" in found else "No bf16 instructions: training on this CPU uses float32 and takes longer."
    return "Instruction set", f"{_cpu_name()}, {found or 'unknown'}", advice


@cache
def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, or no fields where there is no such file."""
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {name.strip().lower(): value.strip() for name, _, value in pairs}
    return {}


def _instructions() -> str:
    """The best of the CPU's vector instructions in words; "" where the system does not tell."""
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


def _cpu_name() -> str:
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

"""What the benchmarks share: sides in processes of their own that take turns, their spread, and where results go.

It does not know what is measured.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from smol_course import hardware
from smol_course.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results")
# A GPU's name is torch's to tell, and torch costs seconds and memory: asked elsewhere, it costs this process neither.
_GPU = """
import json
from smol_course.hardware import accelerator
where = accelerator()[0]
if where == "cuda":
    import torch
    where = torch.cuda.get_device_name()
print(json.dumps("" if where == "cpu" else where))
"""


def options(text: str) -> ArgumentParser:
    """Return a benchmark's command line, described by the first line of ``text``, with the options that all have."""
    parser = ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="times that each side is measured")
    return parser


def in_new_process(*words: str) -> Any:
    """Run Python with these words in the course's folder; its last line is the result. Raises CalledProcessError."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(
    sides: Iterable[str], pairs: int, measure: Callable[[str], dict[str, Any]], line: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    """Measure every side, then every side again, ``pairs`` times; print a line each and return the runs in order."""
    runs: list[dict[str, Any]] = []
    for pair in range(pairs):
        for side in sides:
            runs.append({"side": side, "pair": pair} | measure(side))
            print(f"pair {pair + 1}, {side}: {line(runs[-1])}", flush=True)
    return runs


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, smallest and largest, to three decimals."""
    values = list(values)
    return {name: round(how(values), 3) for name, how in (("median", statistics.median), ("low", min), ("high", max))}


def of_side(runs: list[dict[str, Any]], side: str, name: str) -> list[float]:
    """Return one number of a side's runs, in the order of the pairs."""
    return [run[name] for run in runs if run["side"] == side]


def ratio(runs: list[dict[str, Any]], above: str, below: str, name: str) -> dict[str, float]:
    """Return the spread of one side's number over another side's, each ratio taken within a pair."""
    return spread(a / b for a, b in zip(of_side(runs, above, name), of_side(runs, below, name), strict=True))


def machine() -> str:
    """Return the machine in a few words, with the GPU that the course uses, if there is one."""
    return ", ".join(filter(None, [hardware.describe_short(), in_new_process("-c", _GPU)]))


def slug(name: str) -> str:
    """Return a machine's name as part of a file's: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write(name: str, result: dict[str, Any]) -> Path:
    """Write what the benchmark of that name measured to ``results/<machine>-<name>.json``; return the path.

    ``result`` names its ``machine``. What the figure is to show stands in ``title``, ``ratios`` and ``shares``; the
    last two have a spread for each label. Raises OSError.
    """
    path = RESULTS / f"{slug(result['machine'])}-{name}.json"
    write_json(path, {"benchmark": name, "threads": hardware.threads()[0]} | result)
    return path


class Meter:
    """Adds up stretches of work: the seconds and page faults of each, and what other programs took of the cores."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.faults: list[int] = []
        self._busy = self._own = 0.0

    def start(self) -> None:
        """Begin a stretch."""
        self._start = time.perf_counter(), page_faults(), busy_seconds(), time.process_time()

    def stop(self) -> None:
        """End it."""
        now = time.perf_counter(), page_faults(), busy_seconds(), time.process_time()
        seconds, faults, busy, own = (b - a for a, b in zip(self._start, now, strict=True))
        self.seconds.append(seconds)
        self.faults.append(int(faults))
        self._busy += busy
        self._own += own

    @property
    def cores_taken_by_others(self) -> float:
        """The cores that other processes kept busy meanwhile, on average."""
        return max(0.0, self._busy - self._own) / sum(self.seconds)


def busy_seconds() -> float:
    """Return the seconds that all cores together have worked so far, for whichever process."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def page_faults() -> int:
    """Return the page faults of this process so far (0 where the system does not count them)."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def peak_mb() -> int:
    """Return the most memory that this process has held, in MB (0 where the system does not say); not a GPU's."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def rates(device: str) -> tuple[float, float]:
    """Return this machine's matrix products in bf16 and in float32, in GFLOP/s."""
    float32, bf16 = hardware.matmul_rates(device, seconds=2.0)
    return bf16, float32

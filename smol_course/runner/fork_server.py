"""A process that imports libraries once, and forks notebook kernels that have them; run as a script.

Each line of its standard input asks for one: {"argv": [...], "cwd": ..., "env": {...}}; it answers with the process id.
It ends when its input ends. It computes nothing and starts no thread, since a fork would not have it.
"""

import importlib
import json
import os
import runpy
import signal
import sys
from contextlib import suppress


def main(wanted: list[str]) -> None:
    """Import what is wanted ("module" or "module:name", which loads what stands behind a lazy name), then serve."""
    for module, _, name in (each.partition(":") for each in wanted):
        with suppress(Exception):  # what is not installed, the notebook's own import says
            getattr(importlib.import_module(module), name or "__name__")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended kernels leave nothing to wait for
    while asked := sys.stdin.readline():
        if not (pid := os.fork()):
            return kernel(**json.loads(asked))
        print(pid, flush=True)


def kernel(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Be a notebook kernel in a process just forked."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for stream in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    os.chdir(cwd)
    os.environ.clear()
    # The kernel ends when this parent, not the one that asked, is gone.
    os.environ.update(env | {"JPY_PARENT_PID": str(os.getppid())})
    sys.argv = argv
    runpy.run_module("ipykernel_launcher", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])

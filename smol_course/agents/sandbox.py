"""Code that a model wrote, run in a process of its own with limits, and tools as the only way out of it.

The child process gets the code and no more: an empty environment, one folder, a limit on time, memory and output. A
tool that the code calls is a message to this process, which checks it and does the work; the child never has the
calendar. Its Python refuses to open files elsewhere, to start programs and to use the network.

What this does not stop: an attack on Python itself. The refusals are an audit hook, which code that breaks Python's
memory gets round; and on Windows and macOS some limits are missing. Against code that somebody wrote to break out, put
the same child into a container: `docker_command` says how.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolagents.local_python_executor import CodeOutput, PythonExecutor

from smol_course.agents.tools import FINAL

CHILD = Path(__file__).with_name("sandbox_child.py")
_LONGEST_LINE = 1_000_000  # characters of one message of the child
_STARTING = 30.0  # seconds that the child may take to start; with many at once it takes some


@dataclass(frozen=True)
class Limits:
    """What the child may use.

    Attributes:
        seconds: until an action is ended, tools included; starting the child does not count.
        memory_mb: of address space (Linux only), Python itself included.
        file_mb: the largest file that it may write.
        output: characters of what it prints that are kept.
        calls: of tools in one action.
    """

    seconds: float = 5.0
    memory_mb: int = 512
    file_mb: int = 1
    output: int = 2_000
    calls: int = 30


class SandboxError(Exception):
    """The code failed, or went beyond a limit; the message says which."""


def child_command() -> list[str]:
    """Return the command that starts the child: this Python, without the user's packages and settings."""
    return [sys.executable, "-I", "-S", str(CHILD)]


def docker_command(folder: str | Path, limits: Limits, image: str = "python:3.11-slim") -> list[str]:
    """Return the command that starts the same child in a Docker container, without network and with one folder.

    The image must be on the machine already. Raises SandboxError if there is no Docker.
    """
    docker = shutil.which("docker")
    if not docker:
        raise SandboxError("there is no Docker on this machine: take the process, or install Docker")
    return [
        *(docker, "run", "--rm", "--interactive", "--network=none", "--read-only", "--cap-drop=ALL"),
        *("--security-opt=no-new-privileges", f"--memory={limits.memory_mb}m", "--pids-limit=32", "--user=65534"),
        *("--volume", f"{Path(folder).resolve()}:/sandbox", "--workdir=/sandbox"),
        *("--volume", f"{CHILD.resolve()}:/child.py:ro", image, "python", "-I", "-S", "/child.py"),
    ]


class ProcessExecutor(PythonExecutor):
    """Runs code actions in a child process, for smolagents' CodeAgent; names stay from one action to the next.

    ``folder`` is the only one that the code may read and write; without one it gets an empty one, which goes with the
    executor. ``command`` starts the child. ``guarded=False`` leaves out limits and refusals, to see what they are for.
    Call `cleanup` at the end.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        limits: Limits | None = None,
        command: Sequence[str] | None = None,
        guarded: bool = True,
    ) -> None:
        self._own = None if folder else tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = Path(folder or self._own.name).resolve()  # type: ignore[union-attr]
        self.limits, self._guarded = limits or Limits(), guarded
        self._command = list(command or child_command())
        self._tools: dict[str, Callable[..., Any]] = {}
        self._variables: dict[str, Any] = {}
        self._child: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def send_tools(self, tools: Mapping[str, Callable[..., Any]]) -> None:
        """Say which tools the code may call. They run in this process."""
        self._tools = dict(tools)

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Give the code names to use; what JSON cannot say is left out."""
        self._variables = {name: value for name, value in variables.items() if _is_json(value)}

    def __call__(self, code_action: str) -> CodeOutput:
        """Run the code; return what it printed, its final answer if it gave one, else the value of its last line.

        Raises SandboxError if it fails or goes beyond a limit; after that the child is a new one, without its names.
        """
        child = self._started()
        until = time.monotonic() + self.limits.seconds
        try:
            self._say(child, {"code": code_action, "tools": list(self._tools), "variables": self._variables})
            return self._served(child, until)
        except SandboxError:
            raise
        except (OSError, ValueError) as error:
            raise SandboxError(self._ended(child)) from error
        finally:
            if child.poll() is not None or time.monotonic() > until:
                self._end()

    def _served(self, child: "subprocess.Popen[str]", until: float) -> CodeOutput:
        """Answer the child's tool calls until it is done."""
        calls = 0
        while True:
            message = self._heard(child, until)
            if "call" in message:
                calls += 1
                if calls > self.limits.calls:
                    self._end()
                    raise SandboxError(f"more than {self.limits.calls} tool calls in one action")
                self._say(child, self._called(message))
            elif "error" in message:
                raise SandboxError(str(message["error"])[:500])
            else:
                printed = str(message.get("printed", ""))[: self.limits.output]
                return CodeOutput(message.get("value"), printed, message.get("final") is True)

    def _called(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do one tool call of the child; its error is the child's."""
        tool = self._tools.get(str(message["call"]))
        if tool is None:
            return {"error": f"there is no tool {message['call']}"}
        try:
            value = tool(*message.get("values", []), **message.get("named", {}))
        except Exception as error:  # the guard's Stop, a wrong number of arguments: the code gets to hear it
            return {"error": f"{type(error).__name__}: {error}"}
        return {"value": value if _is_json(value) else str(value)}

    # --- The child -------------------------------------------------------------------------------------------

    def _started(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            self._child = _start(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                env=_bare_environment(),
                text=True,
                encoding="utf-8",
                start_new_session=os.name == "posix",
            )
            self._lines = queue.Queue()
            threading.Thread(target=_read, args=(self._child, self._lines), daemon=True).start()
            limits = {"memory_mb": self.limits.memory_mb, "file_mb": self.limits.file_mb, "output": self.limits.output}
            limits |= {"cpu_seconds": int(self.limits.seconds) + 1, "guarded": self._guarded}
            with suppress(OSError):  # it died at once: that is heard below
                self._say(self._child, limits)
            late = f"the process was not there after {_STARTING:g} seconds"
            self._heard(self._child, time.monotonic() + _STARTING, late)
        return self._child

    def _say(self, child: "subprocess.Popen[str]", message: dict[str, Any]) -> None:
        assert child.stdin
        child.stdin.write(json.dumps(message) + "\n")
        child.stdin.flush()

    def _heard(self, child: "subprocess.Popen[str]", until: float, late: str = "") -> dict[str, Any]:
        """The child's next message. Raises SandboxError when the time is over, or the child has died."""
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            self._end()
            raise SandboxError(late or f"stopped after {self.limits.seconds:g} seconds") from None
        if line is None:
            reason = self._ended(child)
            self._end()
            raise SandboxError(reason)
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no message of the child")
        return message

    def _ended(self, child: "subprocess.Popen[str]") -> str:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1)
        return f"the process died (status {child.returncode}): too much memory, time or output"

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(OSError):
            child.kill()
        with suppress(OSError, subprocess.TimeoutExpired):
            child.wait(timeout=5)
        for pipe in (child.stdin, child.stdout):
            with suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]

    def cleanup(self) -> None:
        """End the child, and remove the folder if it is the executor's own."""
        self._end()
        if self._own:
            self._own.cleanup()


def _start(command: list[str], **how: Any) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(command, **how)
    except OSError as error:
        raise SandboxError(f"the process cannot be started ({error.strerror})") from error


def _read(child: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
    """Pass the child's lines on; None when there are no more, or one is too long."""
    assert child.stdout
    with suppress(OSError, ValueError):
        while line := child.stdout.readline(_LONGEST_LINE):
            if not line.endswith("\n"):
                break
            lines.put(line)
    lines.put(None)


def _bare_environment() -> dict[str, str]:
    """Nothing of this process's environment but what Windows needs to start a program."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def run_once(code: str, tools: Mapping[str, Callable[..., Any]] | None = None, **how: Any) -> CodeOutput:
    """Run code in a process of its own and end it. ``how`` goes to `ProcessExecutor`. Raises SandboxError."""
    executor = ProcessExecutor(**how)
    try:
        executor.send_tools({FINAL: lambda answer: answer} | dict(tools or {}))
        return executor(code)
    finally:
        executor.cleanup()

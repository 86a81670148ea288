"""The child of `smol_course.agents.sandbox`: reads code, runs it, and asks for its tools. Plain Python, alone.

It speaks lines of JSON on standard input and output. The first line sets the limits, and is answered when they hold;
each next one is a code action.
"""

import ast

# What code may need is imported before the hook is there; afterwards a module that is not loaded must be found in
# Python's own library.
import collections  # noqa: F401, I001
import datetime  # noqa: F401
import io
import itertools  # noqa: F401
import json
import math  # noqa: F401
import os
import pathlib  # noqa: F401
import random  # noqa: F401
import re  # noqa: F401
import statistics  # noqa: F401
import sys

_IN, _OUT = sys.stdin, sys.stdout


class Final(BaseException):
    """Carries the final answer out of the code, past its own ``except``."""


def limit(limits: dict) -> None:
    """Set what the system can limit; elsewhere than on POSIX it limits nothing here."""
    try:
        import resource
    except ImportError:
        return
    mega = 1 << 20
    wanted = {"RLIMIT_CPU": limits["cpu_seconds"], "RLIMIT_FSIZE": limits["file_mb"] * mega, "RLIMIT_CORE": 0}
    wanted |= {"RLIMIT_AS": limits["memory_mb"] * mega, "RLIMIT_NOFILE": 32}
    for name, value in wanted.items():
        if hasattr(resource, name):
            try:
                resource.setrlimit(getattr(resource, name), (value, value))
            except (ValueError, OSError):  # macOS knows some of the names and refuses
                continue


# Captured when the hook is made, so that changing these names afterwards changes nothing.
_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.chdir")
_FORBIDDEN += ("os.startfile", "os.putenv", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "pty.")
_FORBIDDEN += ("socket.", "ctypes.", "winreg.", "sqlite3.", "mmap.", "gc.get_", "sys.settrace", "sys.setprofile")
_MODULES = ("subprocess", "_posixsubprocess", "_winapi", "ctypes", "_ctypes", "socket", "_socket", "multiprocessing")
_MODULES += ("_multiprocessing", "sqlite3", "_sqlite3", "mmap", "pty", "faulthandler", "_testcapi", "_interpreters")


def refuse(folder: str) -> None:
    """Add an audit hook, which nothing can take away again: files in the folder only, no programs, no network.

    The hook uses nothing that code can reach and change: no global name, and no method of an object that code made.
    """
    is_a, whole, error, check = isinstance, int, PermissionError, path_check(folder)
    forbidden, modules = _FORBIDDEN, _MODULES
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    paths = {"open": 1, "os.listdir": 1, "os.scandir": 1, "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1}
    reading = ("os.listdir", "os.scandir")

    def hook(event: str, arguments: tuple) -> None:
        if event.startswith(forbidden) or (event == "import" and arguments[0] in modules):
            raise error(f"{event} is not allowed here")
        if event in paths:
            reads = event in reading or (event == "open" and not (is_a(arguments[2], whole) and arguments[2] & writing))
            for path in arguments[: paths[event]]:
                check(path, reads)

    sys.addaudithook(hook)


def path_check(folder: str):
    """Return a function of a path, and whether it is only read, that raises PermissionError for one outside."""
    kind, text, raw, whole, error, len_ = type, str, bytes, int, PermissionError, len
    readlink, sep, failed = os.readlink, os.sep, OSError
    library = tuple(path for path in sys.path if path and os.path.isdir(path))

    def full(path: object) -> str:
        """The path from the root, without . and .., by its letters alone."""
        if kind(path) is raw:
            path = path.decode("utf-8", "surrogateescape")
        if kind(path) is not text:
            raise error("only plain paths are allowed here")
        path = path.replace("/", sep)
        path = path if path[:1] == sep or path[1:2] == ":" else folder + sep + path
        parts: list = []
        for part in path.split(sep):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        return sep.join(parts) if path[1:2] == ":" else sep + sep.join(parts)

    def linked(path: str) -> bool:
        """Whether something below the folder on the way to the path is a link."""
        here = folder
        for part in path[len_(folder) + 1 :].split(sep):
            here = here + sep + part
            try:
                readlink(here)
                return True
            except failed:
                continue
        return False

    def check(path: object, reads: bool) -> None:
        if path is None:
            return
        if kind(path) is whole:  # an open file; 0 to 2 are the parent's
            if path < 3:
                raise error("these pipes belong to the parent")
            return
        resolved = full(path)
        inside = resolved == folder or resolved.startswith(folder + sep)
        if inside and not linked(resolved):
            return
        for place in library:
            if reads and (resolved == place or resolved.startswith(place + sep)):
                return
        raise error(f"{resolved} is outside the folder")

    return check


def ask(message: dict) -> dict:
    """Say a line and wait for the answer."""
    _OUT.write(json.dumps(message) + "\n")
    _OUT.flush()
    line = _IN.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def tool(name: str):
    """A function that has its work done by the parent."""

    def call(*values, **named):
        reply = ask({"call": name, "values": values, "named": named})
        if "error" in reply:
            raise RuntimeError(reply["error"])
        if name == "final_answer":
            raise Final(reply["value"])
        return reply["value"]

    call.__name__ = name
    return call


def act(code: str, names: dict, most: int) -> dict:
    """Run the code and say how it ended."""
    printed = io.StringIO()

    def say(*values, sep=" ", end="\n", **_):
        printed.write((sep.join(map(str, values)) + end)[: max(0, most - printed.tell())])

    names["print"] = say
    value, final = None, False
    try:
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "action", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "action", "eval"), names)
    except Final as end:
        value, final = end.args[0], True
    except MemoryError:
        return {"error": "MemoryError: too much memory"}
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"value": _plain(value), "final": final, "printed": printed.getvalue()}


def _plain(value: object) -> object:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)[:2000]
    return value


def main() -> None:
    """Set the limits, then run one action after the other."""
    limits = json.loads(_IN.readline())
    if limits["guarded"]:
        limit(limits)
        refuse(os.path.realpath(os.getcwd()))
    # The code's own input and output lead nowhere: these pipes belong to the parent.
    sys.stdin, sys.stdout = io.StringIO(), io.StringIO()
    _OUT.write('{"ready": true}\n')
    _OUT.flush()
    names: dict = {"__name__": "action"}
    while line := _IN.readline():
        job = json.loads(line)
        names |= {name: tool(name) for name in job["tools"]} | job["variables"]
        said = act(job["code"], names, limits["output"])
        _OUT.write(json.dumps(said) + "\n")
        _OUT.flush()


if __name__ == "__main__":
    main()

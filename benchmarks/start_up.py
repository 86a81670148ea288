"""From starting Python to the end of a training notebook's setup cells, against the bare imports of its libraries.

    uv run python -m benchmarks.start_up          # setup cells and imports, statement by statement
    uv run python -m benchmarks.start_up --run    # a whole `smol run 1` in the place of that, with nothing cached

What the sides are, and what the figures mean, is in README.md beside this file. Writes results/<machine>-start_up.json
there, and with --run results/<machine>-run.json.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat

from benchmarks import pairs
from smol_course.runner.sources import Notebook, one_notebook, tags

NAME, TITLE = "start_up", "From starting Python to a notebook's first cell: seconds"
RUN_NAME, RUN_TITLE = "run", "A whole run of a module, with nothing cached: seconds"
NOTEBOOK, MODULE = "1/supervised_fine_tuning", "1"
LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "matplotlib", "pandas")
SIDES = ("imports", "setup")
# The stages of a run by the first of these that a cell calls; a cell that calls none and only imports is "imports".
CALLS = {
    "machine, model and tokenizer": {"find_model"},
    "training": {"train"},
    "generation": {"answer", "generate"},
}
STAGES = ("imports", *CALLS, "other cells", "around the cells")


def main() -> None:
    """Measure both sides in turn, or a whole run; print it and write it."""
    parser = pairs.options(__doc__)
    parser.add_argument("--run", action="store_true", help="a whole `smol run 1` with nothing cached, once")
    wish = parser.parse_args()
    if wish.run:
        result = {"title": RUN_TITLE} | whole_run()
        print(run_line(result))
    else:
        source = {"imports": bare_imports(), "setup": setup_cells(one_notebook(NOTEBOOK))}
        measure(source["setup"])  # not kept: it warms the disk, and converts the model where that is still to be done
        runs = pairs.take_turns(SIDES, wish.pairs, lambda side: measure(source[side]), one_line)
        numbers = summary(runs)
        drawn = for_the_figure(numbers)
        print(json.dumps(drawn["ratios"], indent=2))
        result = {"title": TITLE} | drawn | {"summary": numbers, "runs": runs}
    path = pairs.write(RUN_NAME if wish.run else NAME, {"machine": pairs.machine()} | result)
    print(f"Written: {path.name}")


def bare_imports() -> str:
    """The imports of the course's libraries, one a line."""
    return "\n".join(f"import {name}" for name in LIBRARIES)


def setup_cells(notebook: Notebook) -> str:
    """What a notebook's cells tagged parameters and setup execute."""
    cells = [cell.source for cell in notebook.read().cells if {"parameters", "setup"} & set(tags(cell))]
    return "\n".join(cells)


def stamped(source: str) -> str:
    """A program that executes the source and prints, as its last line, the time after each statement."""
    statements = ast.parse(source).body
    lines = ["import json, time", "stamps = [('python', time.time())]"]
    for statement in statements:
        text = ast.unparse(statement)
        lines += [text, f"stamps.append(({text!r}, time.time()))"]
    return "\n".join([*lines, "print(json.dumps(stamps))"])


def measure(source: str) -> dict[str, Any]:
    """Execute the source in a new process: the seconds from its start to the last statement, and of each."""
    started = time.time()
    stamps = pairs.in_new_process("-c", stamped(source))
    return costs(started, stamps)


def costs(started: float, stamps: list[tuple[str, float]]) -> dict[str, Any]:
    """The seconds of each statement, in order, from the times at which they ended; none of under a millisecond."""
    ends = [started, *(end for _, end in stamps)]
    parts = {name: round(end - before, 3) for (name, end), before in zip(stamps, ends, strict=False)}
    parts = {name: seconds for name, seconds in parts.items() if seconds}
    return {"seconds": round(ends[-1] - started, 3), "parts": parts}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the pairs with the smallest and largest: of each side, and of its statements in their order."""
    numbers: dict[str, Any] = {}
    for side in SIDES:
        parts = pairs.of_side(runs, side, "parts")
        numbers[side] = {
            "seconds": pairs.spread(pairs.of_side(runs, side, "seconds")),
            "parts": {name: pairs.spread(part.get(name, 0.0) for part in parts) for part in parts for name in part},
        }
    numbers["setup"]["times_imports"] = pairs.ratio(runs, "setup", "imports", "seconds")
    return numbers


def for_the_figure(numbers: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """What docs/images/benchmarks.py draws of a summary, by label."""
    return {"ratios": {"setup ÷ imports": numbers["setup"]["times_imports"]}, "shares": {}}


def one_line(run: dict[str, Any]) -> str:
    """One measurement in one line: the whole, and the statements that took a twentieth of a second or more."""
    parts = [f"{name} {seconds:.2f}" for name, seconds in run["parts"].items() if seconds >= 0.05]
    return f"{run['seconds']:.2f} s ({', '.join(parts)})"


# --- A whole run --------------------------------------------------------------------------------------------


def whole_run() -> dict[str, Any]:
    """Do `smol run` on the module with empty caches; return its seconds by stage. Raises CalledProcessError."""
    runs = pairs.ROOT / "runs"
    before = set(runs.glob("*"))
    with tempfile.TemporaryDirectory() as folder:
        empty = {name: str(Path(folder, name.lower())) for name in ("SMOL_CACHE", "SMOL_DATA", "HF_HOME")}
        command = [sys.executable, "-m", "smol_course.cli", "run", MODULE, "--fresh"]
        started = time.perf_counter()
        subprocess.run(command, cwd=pairs.ROOT, env=os.environ | empty, check=True)
        seconds = time.perf_counter() - started
    made = min(set(runs.glob("*")) - before)  # they are named by time: the first one since
    return divided({path.stem: nbformat.read(path, as_version=4) for path in sorted(made.glob("*.ipynb"))}, seconds)


def divided(executed: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The seconds of a run by stage, from the clock that the kernels kept in the executed notebooks' cells."""
    each = {name: stages(node) for name, node in executed.items()}
    whole = {stage: sum(found[stage] for found in each.values()) for stage in STAGES[:-1]}
    whole["around the cells"] = seconds - sum(whole.values())
    whole = {stage: round(value, 2) for stage, value in whole.items()}
    each = {name: {stage: round(value, 2) for stage, value in found.items()} for name, found in each.items()}
    return {"seconds": round(seconds, 2), "stages": whole, "notebooks": each}


def stages(node: Any) -> dict[str, float]:
    """The seconds of an executed notebook's cells by stage; a function that calls `answer` counts as `answer`."""
    kinds = {stage: set(names) for stage, names in CALLS.items()}
    found = dict.fromkeys(STAGES[:-1], 0.0)
    for cell in node.cells:
        if cell.cell_type != "code" or "shell.execute_reply" not in cell.metadata.get("execution", {}):
            continue
        tree = ast.parse(cell.source)
        for function in [each for each in tree.body if isinstance(each, ast.FunctionDef)]:
            for names in kinds.values():
                names |= {function.name} if names & called(function) else set()
        imports = all(isinstance(each, ast.Import | ast.ImportFrom) for each in tree.body)
        executed = set().union(*(called(each) for each in tree.body if not isinstance(each, ast.FunctionDef)))
        stage = next((stage for stage, names in kinds.items() if names & executed), None)
        found[stage or ("imports" if imports else "other cells")] += cell_seconds(cell.metadata["execution"])
    return found


def called(tree: ast.AST) -> set[str]:
    """The names that a piece of code calls; of `trainer.train()` the last one."""
    functions = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
    return {getattr(function, "attr", getattr(function, "id", "")) for function in functions}


def cell_seconds(execution: dict[str, str]) -> float:
    """From the time at which a kernel became busy with a cell to its reply."""
    busy, replied = (
        datetime.fromisoformat(execution[name].replace("Z", "+00:00"))
        for name in ("iopub.status.busy", "shell.execute_reply")
    )
    return (replied - busy).total_seconds()


def run_line(result: dict[str, Any]) -> str:
    """A whole run in one line."""
    parts = [f"{stage} {seconds:.1f}" for stage, seconds in result["stages"].items()]
    return f"smol run {MODULE}: {result['seconds']:.1f} s ({', '.join(parts)})"


if __name__ == "__main__":
    main()

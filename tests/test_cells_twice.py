"""Every cell of every notebook may be run twice in a row and gives the same.

The cells run with a tiny model of random weights and small numbers, in a process of its own for each notebook, forked
after the libraries were imported once. The notebooks' claims fail there, and may.
"""

import contextlib
import json
import os
import re
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest

from smol_course import runner
from smol_course.runner.sources import Notebook, tags

NOTEBOOKS = runner.notebooks()
every_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)

# Values that make a run short. Of what a notebook does not have, nothing is set.
SMALL = {
    "steps": 2, "batch_size": 2, "new_tokens": 6, "test_messages": 3, "prompted_messages": 2, "dev_messages": 2,
    "evaluations": 2, "train_events": 6, "samples": 2, "dev_events": 3, "test_events": 4, "start_steps": 2,
    "start_batch": 2, "prompts_each_step": 2, "group_size": 2, "reward_steps": 2, "reward_batch": 2, "kto_steps": 2,
    "kto_batch": 2, "held_out_events": 2, "budget": 600, "before_events": 2, "table_messages": 2, "event_tokens": 6,
    "confirm_tokens": 6, "full_steps": 2, "before_messages": 2, "messages": 8, "questions": 8, "second_opinion": 2,
    "in_each_form": 4, "written_out": 2, "examples": 2, "asked_anew": 2, "draws": 50, "judged": 3, "rated": 3, "timed": 2,
    "pages": 4, "trials": 20, "test_questions": 4, "kept_each": 1, "test_each": 2, "pairs": 2, "weeks": 1,
    "ordinary_weeks": 1, "each_resolution": 2, "written": 4, "instructed": 1, "read_back": 2, "embedded": 30,
    "refined": 2, "labelled": 12, "contaminated": 3, "generations": 1, "notes": 4, "rows": 2, "timed_messages": 1,
    "memory_mb": 1, "batches": "1,2", "batch_tokens": 2, "cache_tokens": 3, "engines": "transformers float32",
    "levels": "1", "requests": 2, "mixed": 6, "hostile_inputs": 2, "free_tokens": 8, "every": 20, "max_steps": 2,
    "before_steps": 1, "masked_every": 30, "longest_help": 1500, "asked": 2, "depth": 5,
}  # fmt: skip
# What measures time or this process differs from one run to the next.
UNLIKE = re.compile(r"second|_ms|latency|cost|_mb|_times|_of_limit|memory|copied|price|gain$|_p\d\d$")


def plausible(answer: Any) -> Any:
    """The course's `answer`, but with sentences and events for a tiny model's noise, chosen by that noise."""
    said = [
        "Noted: dinner on Friday at 19:30.",
        "I have put the dinner with Ana into your calendar, and I am so glad that you told me about it in good time.",
        '{"title": "dinner", "day": "friday", "start": "19:30", "place": null, "people": ["Ana"]}',
        "null",
    ]

    def plausibly(*given: Any, **named: Any) -> list[str]:
        noise = answer(*given, **named)
        return [said[(place + zlib.crc32(text.encode())) % len(said)] for place, text in enumerate(noise)]

    return plausibly


def run_cells(notebook: Notebook, folder: Path, times: int, report: Path) -> None:
    """Run each code cell so many times in a row; write how each run failed and what it recorded, by cell."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stdout.fileno(), 1), os.dup2(sys.stdout.fileno(), 2)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    from IPython.core.interactiveshell import InteractiveShell

    from smol_course import metrics, models

    recorded: list[tuple[str, float]] = []
    models.answer = plausible(models.answer)
    metrics.record = lambda name, value, *_, **__: recorded.append((name, float(value)))
    shell, found = InteractiveShell.instance(), []
    for cell in notebook.read().cells:
        if cell.cell_type != "code" or "study" in tags(cell):
            continue
        runs = []
        for _ in range(times):
            recorded.clear()
            with contextlib.suppress(SystemExit):
                outcome = shell.run_cell(cell.source)
            error = outcome.error_before_exec or outcome.error_in_exec
            runs.append((f"{type(error).__name__}: {error}" if error else None, list(recorded)))
            if "parameters" in tags(cell):
                shell.user_ns.update({name: value for name, value in SMALL.items() if name in shell.user_ns})
                shell.user_ns |= {"model_name": str(folder / "tiny")} if "5_" not in notebook.module.name else {}
        found.append((cell.source, runs))
    report.write_text(json.dumps(found))
    os._exit(0)

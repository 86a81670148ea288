"""The study behind the notebook `performance_analysis`: ways to run the model, the adapter's dial, and a control.

`smol study 4/performance_analysis` executes the notebook once for each run, in a process of its own, and writes the
results beside this file. Each run asks the same messages for accuracy.
"""

_MESSAGES = {"scored": 96, "timed": 12}
_DIAL = {"scored": 48, "timed": 2, "questions": 1_000, "pages": 24}

RUNS = {
    "merged": {"parameters": _MESSAGES | {"questions": 1_000, "pages": 24}},
    "apart": {"parameters": _MESSAGES | {"variant": "apart"}},
    "bf16": {"parameters": _MESSAGES | {"variant": "bf16"}},
    "examples": {"parameters": _MESSAGES | {"variant": "examples"}},
    # How much of the adapter is merged in; 1 is the run `merged`.
    **{f"strength_{part}": {"parameters": _DIAL | {"strength": part}} for part in (0.0, 0.25, 0.5, 0.75, 1.5)},
    # The control: the model that was never tuned must not pass the gate.
    "never_tuned": {
        "parameters": {"organiser": "start", "timed": 2, "questions": 24, "pages": 8},
        "fails": "the gate stops start",
    },
}

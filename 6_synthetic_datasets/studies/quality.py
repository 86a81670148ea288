"""The study behind the notebook `quality`: three generations beyond the first, with and without the fifty; controls.

`smol study 6/quality` executes the notebook once for each run, in a process of its own, and writes the results beside
this file.
"""

_BRIEF = {"embedded": 40}
_LONG = _BRIEF | {"generations": 4}

RUNS = {
    # A model that learns from its own output three times over; and the same with the fifty kept in.
    "alone": {"parameters": _LONG},
    "with_real": {"parameters": _LONG | {"keep_real": True}},
    # The controls: suspects by dice, and a writer that learns nothing.
    "dice": {
        "parameters": _BRIEF | {"suspect_by": "dice", "generations": 1},
        "fails": "the suspects are hardly better than chance",
    },
    "learning_rate_0": {
        "parameters": _BRIEF | {"learning_rate": 0.0, "generations": 1, "steps": 3},
        "fails": "the writer did not learn to write jottings",
    },
}

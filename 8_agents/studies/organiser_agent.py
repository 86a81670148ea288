"""The study behind the notebook `organiser_agent`: all tasks, without the mask, as code, and a control that must fail.

`smol study 8/organiser_agent` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

_BOTH = {"with_page": False, "before_steps": 2}
_ALL = _BOTH | {"every": 1}

RUNS = {
    # All 50 tasks.
    "whole": {"parameters": _ALL},
    # The same, with nothing to keep it from writing what it likes.
    "free": {"parameters": _ALL | {"masked": False}},
    # Actions in Python, by the other adapter.
    "code": {"parameters": _ALL | {"form": "code"}},
    # The control: without the adapter the claim must fail.
    "not_trained": {
        "parameters": _BOTH | {"trained": False, "every": 8, "max_steps": 2},
        "fails": "no better than the starting model",
    },
}

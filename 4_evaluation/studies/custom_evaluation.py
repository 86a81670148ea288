"""The study behind the notebook `custom_evaluation`: the judges on more events and conversations, and a control.

`smol study 4/custom_evaluation` executes the notebook once for each run, in a process of its own, and writes the
results beside this file.
"""

_SHORT = {"asked_anew": 4}

RUNS = {
    "judges": {"parameters": _SHORT | {"judged": 120, "rated": 120}},
    "judges_seed_1": {"parameters": _SHORT | {"judged": 16, "rated": 120, "seed": 1}},
    # lighteval against the course's own way of asking, on more messages.
    "asked_48": {"parameters": {"asked_anew": 48, "judged": 8, "rated": 8}},
    # The control: a metric with a mistake must fail the notebook's own claim.
    "least_likely": {
        "parameters": _SHORT | {"judged": 8, "rated": 8, "metric": "least likely"},
        "fails": "the metric is wrong",
    },
}

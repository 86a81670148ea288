"""The study behind the notebook `supervised_fine_tuning`: three seeds and a control.

`smol study 1/supervised_fine_tuning` executes the notebook once for each run, in a process of its own, and writes the
results beside this file.
"""

_MORE = {"test_messages": 128, "prompted_messages": 2}

RUNS = {
    # The claim, on twice as many messages, three times: only the seed differs.
    "seed_0": {"parameters": _MORE | {"seed": 0}},
    "seed_1": {"parameters": _MORE | {"seed": 1}},
    "seed_2": {"parameters": _MORE | {"seed": 2}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 4, "prompted_messages": 2},
        "fails": "fine-tuning did not help",
    },
}

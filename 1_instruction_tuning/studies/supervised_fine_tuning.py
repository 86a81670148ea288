"""The study behind the notebook `supervised_fine_tuning`: three seeds, a longer training, over-training, a control.

`smol study 1/supervised_fine_tuning` executes the notebook once for each run, in a process of its own, and writes the
results beside this file.
"""

_WHOLE_TEST = {"test_messages": 1_000, "prompted_messages": 0}

RUNS = {
    # The claim, on the whole test set, three times: only the seed differs.
    "seed_0": {"parameters": _WHOLE_TEST | {"seed": 0}},
    "seed_1": {"parameters": _WHOLE_TEST | {"seed": 1}},
    "seed_2": {"parameters": _WHOLE_TEST | {"seed": 2}},
    # Twice through all messages instead of half once: what patience adds.
    "longer": {"parameters": _WHOLE_TEST | {"steps": 460, "evaluations": 8}},
    # A few messages many times over: the dev loss turns up while the training loss goes to zero.
    "over_training": {
        "parameters": {
            "train_messages": 40,
            "evaluations": 10,
            "prompted_messages": 0,
            "test_messages": 32,
            "margin": -1.0,
        }
    },
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 20, "prompted_messages": 0},
        "fails": "fine-tuning did not help",
    },
}

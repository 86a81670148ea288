"""The study behind the notebook `custom_functions`: two more seeds, all tasks, a long prompt, and a control.

`smol study 8/custom_functions` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

# A run that only asks: one step of training, which is not looked at.
_ASK = {"steps": 1, "margin": -1.0}

RUNS = {
    # The claim again, with other traces in another order, and asked about some more tasks.
    "seed_1": {"parameters": {"seed": 1, "every": 3, "masked_every": 6}},
    "seed_2": {"parameters": {"seed": 2, "every": 3, "masked_every": 6}},
    # The starting model and the shipped adapter on all 60 tasks; both constrained, too.
    "whole": {"parameters": _ASK | {"every": 1, "masked_every": 1, "masked_shipped": True}},
    # The starting model with smolagents' own prompt, which has several pages.
    "own_prompt": {"parameters": _ASK | {"every": 5, "masked_every": 12, "own_prompt": True}},
    # The control: nothing is learned, and the claim must fail.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 2, "every": 6, "masked_every": 12},
        "fails": "training did not help",
    },
}

"""The study behind the notebook `instruction_datasets`: three arms with three seeds, another start, and a control.

`smol study 6/instruction_datasets` executes the notebook once for each run, in a process of its own, and writes the
results beside this file. The runs train longer than the notebook, on the same synthetic jottings, and look at fewer
examples on the way.
"""

_BRIEF = {"written": 4, "instructed": 1, "read_back": 2, "embedded": 30}
_ARMS = _BRIEF | {"arms": "seeds,unfiltered,filtered", "test_messages": 1_000}
_FRESH = {"start": "", "steps": 120, "batch_size": 4, "learning_rate": 2e-3, "before_messages": 4}

RUNS = {
    # The question: the fifty alone, with what was made, with what was made and checked. Equal steps.
    "seed_0": {"parameters": _ARMS | _FRESH},
    "seed_1": {"parameters": _ARMS | _FRESH | {"seed": 1}},
    "seed_2": {"parameters": _ARMS | _FRESH | {"seed": 2}},
    # Another start: an adapter that knows six other registers. Asked for no claim.
    "from_the_organiser": {
        "parameters": _BRIEF
        | {"start": "organiser_lora", "arms": "seeds,filtered", "steps": 40, "batch_size": 8, "learning_rate": 1e-3}
        | {"test_messages": 1_000, "before_messages": 1_000, "margin": -1.0},
    },
    # The control: an arm that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _BRIEF
        | {"arms": "filtered", "learning_rate": 0.0, "steps": 3, "test_messages": 16, "before_messages": 16},
        "fails": "training did not help",
    },
}

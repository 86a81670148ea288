"""The study behind the notebook `grpo`: two more seeds, the control with dice, and a badly made reward.

`smol study 2/grpo` executes the notebook once for each run, in a process of its own, and writes the results beside this
file. The notebook's own run is the third seed, with fewer questions.
"""

_MORE = {"test_messages": 48, "samples": 2}
_LONGER = _MORE | {"learning_rate": 1e-3, "steps": 16, "margin": -1.0}

RUNS = {
    # The claim again: another start, other messages, other samples.
    "seed_1": {"parameters": _MORE | {"seed": 1}},
    "seed_2": {"parameters": _MORE | {"seed": 2}},
    # The control: with dice for rewards the notebook's own claim must fail.
    "random_reward": {"parameters": _MORE | {"reward": "random"}, "fails": "GRPO did not help"},
    # A reward with a hole, a field left out counts as null, and the right one, both pressed harder. No claim.
    "longer_bad": {"parameters": _LONGER | {"reward": "bad"}},
    "longer": {"parameters": _LONGER},
}

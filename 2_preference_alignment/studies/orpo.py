"""The study behind the notebook `orpo`: three seeds, its two rivals with the same tokens, and a control that must fail.

`smol study 2/orpo` executes the notebook once for each run, in a process of its own, and writes the results beside
this file.
"""

_MORE = {"test_events": 64, "test_messages": 32}

RUNS = {
    # ORPO three times: only the seed differs, and with it which events are seen and in which order.
    "seed_0": {"parameters": _MORE | {"seed": 0}},
    "seed_1": {"parameters": _MORE | {"seed": 1}},
    "seed_2": {"parameters": _MORE | {"seed": 2}},
    # The rivals, with the same budget of tokens: the chosen answers alone, and those followed by DPO on pairs.
    "sft": {"parameters": _MORE | {"method": "sft"}},
    "sft_dpo": {"parameters": _MORE | {"method": "sft_dpo"}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "budget": 1200, "test_events": 24, "dev_events": 10, "test_messages": 8},
        "fails": "orpo did not help",
    },
}

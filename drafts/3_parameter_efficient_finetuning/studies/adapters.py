"""The study behind the notebook `adapters`: three seeds of the confirm adapter and of its mixtures, and a control.

`smol study 3/adapters` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

_MORE = {
    "test_events": 80,
    "table_messages": 16,
    "mixtures": [["cat", 1.0, 0.3], ["cat", 0.7, 0.7], ["cat", 0.3, 1.0]],
}

RUNS = {
    # The claim on more events, three times. The event adapter is the same each time; only confirm is trained anew.
    "seed_0": {"parameters": _MORE | {"seed": 0}},
    "seed_1": {"parameters": _MORE | {"seed": 1}},
    "seed_2": {"parameters": _MORE | {"seed": 2}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 4},
        "fails": "the confirm adapter did not help",
    },
}

"""The study behind the notebook `adapters`: two more seeds of the confirm adapter, and a control.

`smol study 3/adapters` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

# The tables of the notebook are not asked again: only the claim is.
_CLAIM = {"table_messages": 4, "mixtures": []}

RUNS = {
    # The event adapter is the same each time; only confirm is trained anew.
    "seed_1": {"parameters": _CLAIM | {"seed": 1}},
    "seed_2": {"parameters": _CLAIM | {"seed": 2}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 4},
        "fails": "the confirm adapter did not help",
    },
}

"""The study behind the notebook `preference_datasets`: two more seeds, other sources of pairs, and a control.

`smol study 6/preference_datasets` executes the notebook once for each run, in a process of its own, and writes the
results beside this file. The notebook's own run is the first seed.
"""

_BRIEF = {"refined": 2, "judged": 4}

RUNS = {
    # The claim again: other events, other samples.
    "seed_1": {"parameters": {"seed": 1}},
    "seed_2": {"parameters": {"seed": 2}},
    # Other pairs, as many at most. Asked for no claim.
    "corruption": {"parameters": _BRIEF | {"source": "corruption", "margin": -1.0}},
    "all": {"parameters": _BRIEF | {"source": "all", "margin": -1.0}},
    # The control: every second pair is flipped.
    "shuffled": {"parameters": _BRIEF | {"shuffle_preferences": True}, "fails": "the pairs did not help"},
}

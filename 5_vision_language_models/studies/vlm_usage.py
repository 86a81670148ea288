"""The study behind the notebook `vlm_usage`: more weeks read into slots, and two controls that must fail.

`smol study 5/vlm_usage` executes the notebook once for each run, in a process of its own, and writes the results beside
this file. Nothing is trained.
"""

# Only the weeks count here; the other questions are asked a few times.
_FEW = {"pairs": 4, "each_resolution": 4, "ordinary_weeks": 1}

RUNS = {
    "more_weeks": {"parameters": _FEW | {"weeks": 24, "seed": 1}},
    # The controls: the claim needs the picture.
    "blank": {"parameters": _FEW | {"blind": "blank"}, "fails": "it reads no better than a guess"},
    "shuffled": {"parameters": _FEW | {"blind": "shuffled"}, "fails": "it reads no better than a guess"},
}

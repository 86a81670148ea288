"""The study behind the notebook `serving`: slots and engines under load, ten minutes of everything, and a control.

`smol study 7/serving` executes the notebook once for each run, in a process of its own, and writes the results beside
this file.
"""

_LOAD = {"levels": "1,4,16", "requests": 64, "mixed": 0, "one_slot": False}
# `transformers` writes a few tokens a second for all its clients together, so it gets fewer requests.
_SLOW = {"levels": "1,4", "requests": 8, "mixed": 0}

RUNS = {
    **{f"slots_{slots}": {"parameters": _LOAD | {"slots": slots}} for slots in (1, 2, 4, 8)},
    "transformers": {"parameters": _SLOW | {"engine": "transformers"}},
    "transformers_batched": {"parameters": _SLOW | {"engine": "transformers batched"}},
    # Everything at once, for ten minutes.
    "soak": {"parameters": {"levels": "4", "requests": 8, "soak_seconds": 600}},
    # A control: with llama.cpp's own default, the memory must be seen to grow.
    "prompts_kept": {
        "parameters": {"levels": "4", "requests": 8, "soak_seconds": 180, "prompts_mb": 8192},
        "fails": "the process grew by",
    },
    # A control: with no engine behind the front, good requests cannot be answered.
    "engine_dies": {
        "parameters": {"levels": "4", "requests": 8, "engine_dies": True},
        "fails": "requests that ended as they should not",
    },
}

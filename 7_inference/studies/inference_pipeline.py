"""The study behind the notebook `inference_pipeline`: temperatures, three seeds each, and a control that must fail.

`smol study 7/inference_pipeline` executes the notebook once for each run, in a process of its own, and writes the
results beside this file. Every run answers greedily too, which has no seed.
"""

_MESSAGES = {"test_messages": 64, "rows": 2, "new_tokens": 48}

_RIGHT = {"test_messages": 16, "rows": 4, "padding_side": "right"}

RUNS = {
    **{
        f"temperature_{temperature:g}_seed_{seed}": {
            "parameters": _MESSAGES | {"temperature": temperature, "seed": seed}
        }
        for temperature in (0.5, 1.0, 1.5)
        for seed in (0, 1, 2)
    },
    # The control: filled up on the wrong side, a batch must change the answers.
    "right_padding": {"parameters": _RIGHT, "fails": "batching changed the answers"},
}

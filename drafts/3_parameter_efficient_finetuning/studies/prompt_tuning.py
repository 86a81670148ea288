"""The study behind the notebook `prompt_tuning`: how many vectors, which start, which method, seeds, a control.

`smol study 3/prompt_tuning` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

_SHORT = {"prompted_messages": 0}
_EVENT = {"task": "event", "steps": 30, "batch_size": 4, "test_messages": 40, "prompted_messages": 0, "margin": -1.0}

RUNS = {
    # How many vectors? Only their number differs.
    "tokens_1": {"parameters": _SHORT | {"virtual_tokens": 1, "margin": -1.0}},
    "tokens_4": {"parameters": _SHORT | {"virtual_tokens": 4, "margin": -1.0}},
    "tokens_16": {"parameters": _SHORT | {"virtual_tokens": 16}},
    "tokens_64": {"parameters": _SHORT | {"virtual_tokens": 64, "margin": -1.0}},
    # The claim twice more: only the seed differs from tokens_16.
    "seed_1": {"parameters": _SHORT | {"seed": 1}},
    "seed_2": {"parameters": _SHORT | {"seed": 2}},
    # Another start of the sixteen vectors.
    "random": {"parameters": _SHORT | {"init": "random", "margin": -1.0}},
    # Other methods. LoRA trains exactly as many numbers as sixteen virtual tokens.
    "prefix": {"parameters": _SHORT | {"method": "prefix", "margin": -1.0}},
    "ia3": {"parameters": _SHORT | {"method": "ia3", "margin": -1.0}},
    "lora": {"parameters": _SHORT | {"method": "lora", "margin": -1.0}},
    # Module 1's task, with as many trained numbers and steps.
    "event_prompt": {"parameters": _EVENT},
    "event_lora": {"parameters": _EVENT | {"method": "lora"}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _SHORT | {"learning_rate": 0.0, "steps": 4},
        "fails": "the soft prompt did not help",
    },
}

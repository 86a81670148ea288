"""The study behind the notebook `prompt_tuning`: how many vectors, which start, which method, seeds, a control.

`smol study 3/prompt_tuning` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

# Without few-shot prompting and, in most runs, without "before": they would be the same again. Most have fewer steps.
_SHORT = {"prompted_messages": 0}
_AFTER = _SHORT | {"compare": False, "margin": -1.0, "steps": 24}
_EVENT = _AFTER | {"task": "event", "test_messages": 32}

RUNS = {
    # How many vectors? Only their number differs.
    "tokens_1": {"parameters": _AFTER | {"virtual_tokens": 1}},
    "tokens_4": {"parameters": _AFTER | {"virtual_tokens": 4}},
    "tokens_16": {"parameters": _AFTER},
    "tokens_64": {"parameters": _AFTER | {"virtual_tokens": 64}},
    # The claim twice more: only the seed differs from the notebook.
    "seed_1": {"parameters": _SHORT | {"seed": 1}},
    "seed_2": {"parameters": _SHORT | {"seed": 2}},
    # Another start: noise, whose numbers are seven times as large as the embeddings', and so is the learning rate.
    "random": {"parameters": _AFTER | {"init": "random", "learning_rate": 0.2}},
    # Other methods. LoRA trains exactly as many numbers as sixteen virtual tokens.
    "prefix": {"parameters": _AFTER | {"method": "prefix", "learning_rate": 2e-2}},
    "ia3": {"parameters": _AFTER | {"method": "ia3", "learning_rate": 2e-2}},
    "lora": {"parameters": _AFTER | {"method": "lora", "learning_rate": 5e-3}},
    # Module 1's task, with as many trained numbers and steps.
    "event_prompt": {"parameters": _EVENT},
    "event_lora": {"parameters": _EVENT | {"method": "lora", "learning_rate": 5e-3}},
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _SHORT | {"learning_rate": 0.0, "steps": 3, "test_messages": 24},
        "fails": "the soft prompt did not help",
    },
}

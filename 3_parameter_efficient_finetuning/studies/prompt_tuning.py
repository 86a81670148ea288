"""The study behind the notebook `prompt_tuning`: fresh seeds, other methods, lengths and starts, and a control.

`smol study 3/prompt_tuning` executes the notebook once for each run, in a process of its own, and writes the results
beside this file. Two of the runs train several relatives one after the other (`others`): they share what is measured
and differ in nothing else.
"""

# Only what is trained, for half as many steps as the notebook.
_SHORT = {"compare": False, "margin": -1.0, "steps": 20, "test_messages": 32}

RUNS = {
    # The claim on seeds that were not looked at when it was chosen (0, 1 and 2 were).
    "seed_3": {"parameters": {"seed": 3, "test_messages": 40}},
    "seed_4": {"parameters": {"seed": 4, "test_messages": 40}},
    "seed_5": {"parameters": {"seed": 5, "test_messages": 40}},
    # Other methods. LoRA trains exactly as many numbers as sixteen virtual tokens.
    "methods": {
        "parameters": _SHORT
        | {
            "others": [
                ["lora", "lora", 0, "text", 5e-3],
                ["ia3", "ia3", 0, "text", 2e-2],
                ["prefix", "prefix", 16, "text", 2e-2],
            ]
        }
    },
    # One vector, many, and sixteen that start as noise: seven times as large as embeddings, and so is the rate.
    "starts": {
        "parameters": _SHORT
        | {
            "virtual_tokens": 1,
            "others": [["tokens_64", "prompt", 64, "text", 3e-2], ["random", "prompt", 16, "random", 0.2]],
        }
    },
    # The control: the same procedure that learns nothing must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 3, "test_messages": 24},
        "fails": "the soft prompt did not help",
    },
}

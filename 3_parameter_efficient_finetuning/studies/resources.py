"""The study behind the notebook `resources`: each way of saving memory, alone and together, and a control.

`smol study 3/resources` executes the notebook once for each run, in a process of its own, and writes the results
beside this file. All runs train on the same messages, eight of them a step (packed rows: about as many).
"""

_LORA = {"method": "lora", "learning_rate": 1e-3}

RUNS = {
    # What the others are compared with: eight rows at once, in a random order, padded, float32.
    "full": {"parameters": {}},
    # Fewer positions that hold nothing: like lengths; or several messages a row, about 512 positions at once.
    "full_like_length": {"parameters": {"order": "like"}},
    "full_packing": {"parameters": {"packing": 512, "batch_size": 1, "accumulation": 2}},
    # Fewer activations at once.
    "full_accumulation": {"parameters": {"batch_size": 4, "accumulation": 2}},
    "full_checkpointing": {"parameters": {"checkpointing": True}},
    # The number format: 16-bit products; 16-bit weights, gradients and moments.
    "full_autocast": {"parameters": {"precision": "autocast"}},
    "full_bf16_weights": {"parameters": {"precision": "bfloat16"}},
    # Fewer trained weights.
    "lora": {"parameters": _LORA},
    "lora_checkpointing": {"parameters": _LORA | {"checkpointing": True}},
    # All of them.
    "all_together": {
        "parameters": _LORA
        | {"checkpointing": True, "precision": "bfloat16", "order": "like", "batch_size": 2, "accumulation": 4}
    },
    # The control: plain training compared with plain training must fail the notebook's own claim.
    "without_checkpointing": {
        "parameters": {"compare": "nothing", "messages": 8, "batch_size": 4},
        "fails": "checkpointing kept no fewer activations",
    },
}

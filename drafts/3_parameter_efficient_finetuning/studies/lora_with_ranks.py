"""The study behind the notebook `lora`: methods, learning rates, ranks, seeds, and a control that must fail.

`smol study 3/lora` executes the notebook once for each run, in a process of its own, and writes the results beside this
file. No run but the notebook itself repeats the full fine-tuning whose update is looked at. The run `qlora` needs
bitsandbytes (the extra `gpu`).
"""

_SHORT = {"full_steps": 0, "before_messages": 8, "margin": -1.0}
_METHOD = _SHORT | {"test_messages": 100, "steps": 40}
_SWEEP = _SHORT | {"test_messages": 4, "steps": 12, "dev_messages": 24}
_RATES = {"full": (4e-5, 2e-4, 1e-3), "lora": (2e-4, 1e-3, 5e-3, 2.5e-2)}

RUNS = {
    # The same messages in the same order; all weights with the rate that is good for them.
    "full": {"parameters": _METHOD | {"method": "full", "learning_rate": 2e-4}},
    "lora": {"parameters": _METHOD | {"method": "lora"}},
    "rslora": {"parameters": _METHOD | {"method": "rslora"}},
    "dora": {"parameters": _METHOD | {"method": "dora"}},
    "qlora": {"parameters": _METHOD | {"method": "qlora", "steps": 10, "test_messages": 24}},
    # How far a step may go, for few weights and for all.
    **{
        f"sweep_{method}_{rate:g}": {"parameters": _SWEEP | {"method": method, "learning_rate": rate}}
        for method, rates in _RATES.items()
        for rate in rates
    },
    "rank_1": {"parameters": _METHOD | {"rank": 1, "test_messages": 48}},
    "rank_4": {"parameters": _METHOD | {"rank": 4, "test_messages": 48}},
    "rank_64": {"parameters": _METHOD | {"rank": 64, "test_messages": 48}},
    # The same as `lora` but for chance.
    "seed_1": {"parameters": _METHOD | {"seed": 1}},
    "seed_2": {"parameters": _METHOD | {"seed": 2}},
    # The control: an adapter that does not move must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _SHORT | {"learning_rate": 0.0, "steps": 3, "test_messages": 24, "margin": 0.1},
        "fails": "LoRA did not help",
    },
}

"""The study behind the notebook `lora`: methods, learning rates, the other dials, seeds, and a control that must fail.

`smol study 3/lora` executes the notebook once for each run, in a process of its own, and writes the results beside this
file. No run but the notebook itself repeats the full fine-tuning whose update is looked at. The run `qlora` needs
bitsandbytes (the extra `gpu`).
"""

_SHORT = {"full_steps": 0, "before_messages": 8, "margin": -1.0}
_METHOD = _SHORT | {"test_messages": 64, "steps": 32}
_SWEEP = _SHORT | {"test_messages": 4, "steps": 10, "dev_messages": 16}
_RATES = {"full": (2e-5, 2e-4, 2e-3), "lora": (2e-4, 2e-3, 2e-2)}

RUNS = {
    # The same messages in the same order; all weights with the rate that is good for them.
    "full": {"parameters": _METHOD | {"method": "full", "learning_rate": 2e-4}},
    "lora": {"parameters": _METHOD | {"method": "lora"}},
    "rslora": {"parameters": _METHOD | {"method": "rslora"}},
    "dora": {"parameters": _METHOD | {"method": "dora"}},
    "qlora": {"parameters": _METHOD | {"method": "qlora"}},
    # The same as `lora` but for chance.
    "seed_1": {"parameters": _METHOD | {"seed": 1}},
    "seed_2": {"parameters": _METHOD | {"seed": 2}},
    # How far a step may go, for few weights and for all.
    **{
        f"sweep_{method}_{rate:g}": {"parameters": _SWEEP | {"method": method, "learning_rate": rate}}
        for method, rates in _RATES.items()
        for rate in rates
    },
    # One dial at a time, against `sweep_lora_0.002`.
    "rank_2": {"parameters": _SWEEP | {"rank": 2}},
    "alpha_128": {"parameters": _SWEEP | {"alpha": 128}},
    "targets_q_v": {"parameters": _SWEEP | {"targets": "q_proj,v_proj"}},
    # The control: an adapter that does not move must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _SHORT | {"learning_rate": 0.0, "steps": 3, "test_messages": 24, "margin": 0.1},
        "fails": "LoRA did not help",
    },
}

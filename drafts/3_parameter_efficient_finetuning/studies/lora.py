"""The study behind the notebook `lora`: methods, learning rates, seeds, and a control that must fail.

`smol study 3/lora` executes the notebook once for each run, in a process of its own, and writes the results beside this
file. No run but the notebook itself repeats the full fine-tuning whose update is looked at.
"""

_SHORT = {"full_steps": 0, "before_messages": 8, "margin": -1.0}
_METHOD = _SHORT | {"test_messages": 100, "steps": 40}
_SWEEP = _SHORT | {"test_messages": 4, "steps": 16, "dev_messages": 16}
_RATES = {"lora": (1e-4, 5e-4, 2e-3, 1e-2), "full": (1e-4, 5e-4, 2e-3)}

RUNS = {
    # The same messages in the same order; each with a learning rate that the sweep found good.
    "lora": {"parameters": _METHOD | {"method": "lora"}},
    "full": {"parameters": _METHOD | {"method": "full", "learning_rate": 5e-4}},
    # The same as `lora` but for chance.
    "seed_1": {"parameters": _METHOD | {"seed": 1}},
    "seed_2": {"parameters": _METHOD | {"seed": 2}},
    # How far a step may go, for few weights and for all.
    **{
        f"sweep_{method}_{rate:g}": {"parameters": _SWEEP | {"method": method, "learning_rate": rate}}
        for method, rates in _RATES.items()
        for rate in rates
    },
    # The control: an adapter that does not move must fail the notebook's own claim.
    "learning_rate_0": {
        "parameters": _SHORT | {"learning_rate": 0.0, "steps": 3, "test_messages": 24, "margin": 0.1},
        "fails": "LoRA did not help",
    },
    "rslora": {"parameters": _METHOD | {"method": "rslora"}},
    "dora": {"parameters": _METHOD | {"method": "dora"}},
}

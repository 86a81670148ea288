"""The study behind the notebook `optimisation`: engines on all test messages, early exit, compiling, and a control.

`smol study 7/optimisation` executes the notebook once for each run, in a process of its own, and writes the results
beside this file. All engines stand side by side in one run, so that they saw the same machine. Only the control
makes the notebook's claim; the others measure. `compiled` needs a C++ compiler.
"""

_ENGINES = (
    "transformers float32,transformers bfloat16,llama.cpp F16,llama.cpp Q8_0,llama.cpp Q4_0,openvino Q8_0,openvino Q4_0"
)
_SHORT = {"test_messages": 4, "timed_messages": 2, "margin": 0.0, "engines": "transformers float32"}

RUNS = {
    "engines": {"parameters": {"test_messages": 1_000, "timed_messages": 16, "margin": 0.0, "engines": _ENGINES}},
    # Guesses from the model's own middle, instead of from the prompt.
    "early_exit": {"parameters": _SHORT | {"guess": "early exit"}},
    "compiled": {"parameters": _SHORT | {"compiled": True}},
    # The control: without an engine the claim must fail.
    "no_engine": {"parameters": _SHORT | {"margin": 5.0}, "fails": "no engine is quicker than transformers float32"},
}

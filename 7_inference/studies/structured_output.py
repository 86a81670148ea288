"""The study behind the notebook `structured_output`: all messages, hostile inputs, wrong schemas, and two controls.

`smol study 7/structured_output` executes the notebook once for each run, in a process of its own, and writes the
results beside this file.
"""

_MODELS = "organiser,start,random"
_ALL = {"test_messages": 1_000, "hostile_inputs": 4, "timed_messages": 2, "models": "organiser"}
_FEW = {"test_messages": 10, "hostile_inputs": 10, "timed_messages": 2, "models": _MODELS}

RUNS = {
    "whole": {"parameters": {"test_messages": 1_000, "hostile_inputs": 200, "timed_messages": 16, "models": _MODELS}},
    # Two schemas that every validator is happy with, and the model is not.
    "another_order": {"parameters": _ALL | {"order": "people,place,start,day,title"}},
    "without_null": {"parameters": _ALL | {"allow_null": False}},
    # The controls: without a schema, and where white space is left free, the claim must fail.
    "no_schema": {"parameters": _FEW | {"constrained": False}, "fails": "answers are broken"},
    "any_layout": {"parameters": _FEW | {"any_layout": True}, "fails": "answers are broken"},
}

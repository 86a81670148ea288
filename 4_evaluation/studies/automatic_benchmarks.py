"""The study behind the notebook `automatic_benchmarks`: all questions in every form, other examples, and a control.

`smol study 4/automatic_benchmarks` executes the notebook once for each run, in a process of its own, and writes the
results beside this file.
"""

_ALL = {"questions": 1_000, "second_opinion": 1_000, "in_each_form": 1_000, "written_out": 1_000}
_FORMS = {"questions": 1_000, "second_opinion": 4, "in_each_form": 1_000, "written_out": 4}

RUNS = {
    "all_questions": {"parameters": _ALL},
    # The same questions after more examples, and after other ones.
    "examples_8": {"parameters": _FORMS | {"examples": 8}},
    "other_examples": {"parameters": _FORMS | {"seed": 1}},
    "others_again": {"parameters": _FORMS | {"seed": 2}},
    # The control: a metric that takes the least likely option must fail the notebook's own claim.
    "least_likely": {
        "parameters": {"questions": 48, "second_opinion": 8, "in_each_form": 4, "written_out": 2, "pick": "least"},
        "fails": "no better than chance",
    },
}

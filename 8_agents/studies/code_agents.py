"""The study behind the notebook `code_agents`: all tasks, those that need one call, and a control that must fail.

`smol study 8/code_agents` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

RUNS = {
    # All 50 tasks of the organiser.
    "whole": {"parameters": {"every": 1}},
    # The 60 tasks that need one call: here code can save little.
    "single": {"parameters": {"task_set": "single", "every": 1, "fewer": -9.0}},
    # The control: the starting model, without an adapter. Code of its own making does no task.
    "not_trained": {
        "parameters": {"trained": False, "every": 8, "max_steps": 2},
        "fails": "code actions were no better",
    },
}

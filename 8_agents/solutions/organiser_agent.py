"""Reference answers to the exercises of the notebook organiser_agent.

`hint(...)` in the notebook gives less away.
"""

# 🐢 The same week?


def same(found, wanted):
    """Say whether two lists of events are the same week."""

    def whole(events):
        return sorted((event["title"].casefold(), event["day"], event["start"]) for event in events)

    return whole(found) == whole(wanted)


# 🐕 Stop a runaway


def must_end(steps, most):
    """Return why a run must end, or None."""
    if len(steps) >= most:
        return "too many steps"
    last = steps[-3:]
    if len(last) == 3 and last[0] == last[1] == last[2]:
        return "the same again"
    last = steps[-4:]
    if len(last) == 4 and last[:2] == last[2:] and last[0] != last[1]:
        return "to and fro"
    return None


# 🦁 A better organiser


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_done": [0.50],  # made up: the adapter that ships
        "my_done": [0.60, 0.58, 0.62],  # made up: three trainings with different seeds
        "baseline_harmed": [0.10],  # made up
        "my_harmed": [0.05, 0.10, 0.0],  # made up
        "tasks": 50,
        "own_tasks": 30,  # written by yourself, and used to choose
        "train_ids": ["train-0004", "train-0017", "mine-0001"],
    }


ANSWERS = {
    "organiser_agent/turtle": lambda: same,
    "organiser_agent/dog": lambda: must_end,
    "organiser_agent/lion": example_results,
}

"""Reference answers to the exercises of the notebook grpo.

`hint(...)` in the notebook gives less away.
"""

import json
import statistics

from smol_course.metrics import field_f1, parse_event

# 🐢 Advantages of a group


def advantages(rewards):
    """Return the advantage of each answer of one group."""
    # Equal rewards: nothing to compare. Ask this first; a computed spread may be a tiny number instead of zero.
    if max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    mean, spread = statistics.fmean(rewards), statistics.stdev(rewards)
    return [(reward - mean) / spread for reward in rewards]


# 🐕 A reward that cannot be cheated


def honest_reward(answer, event):
    """Return 0 to 1 for an answer, given the right event as JSON text."""
    truth = json.loads(event)
    try:
        parsed = parse_event(answer)
    except ValueError:
        return 0.0  # before anything else: field_f1 would take it for "no event"
    if parsed is None or truth is None:
        value = float(parsed is truth)
    else:
        # Nulls are left out, so silence earns nothing; what is invented costs precision.
        value = field_f1([answer], [event])
    try:
        json.loads(answer)
    except ValueError:
        value *= 0.8  # something stands around the JSON: a second guess, or chatter
    return value


# 🦁 More from the same answers


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_reward": [0.60, 0.62, 0.61],  # made up: the notebook as it stands, seeds 0, 1, 2
        "my_reward": [0.66, 0.65, 0.68],  # made up: the same seeds with your change
        "dice_reward": [0.50, 0.52, 0.49],  # made up: your change, with random rewards
        "my_field_f1_before": [0.50, 0.52, 0.49],  # made up: greedy answers, your runs
        "my_field_f1_after": [0.55, 0.54, 0.53],  # made up
        "test_messages": 96,  # the same messages for all nine runs
        "baseline_completions": 320,  # steps × prompts × group size
        "my_completions": 320,
        "train_ids": ["train-0004", "train-0017", "mine-0001"],  # really: all that you trained on
    }


ANSWERS = {
    "grpo/turtle": lambda: advantages,
    "grpo/dog": lambda: honest_reward,
    "grpo/lion": example_results,
}

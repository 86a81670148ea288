"""Reference answers to the exercises of the notebook supervised_fine_tuning.

`hint(...)` in the notebook gives less away.
"""

import torch

# 🐢 Mask the prompt


def make_labels(input_ids, prompt_length):
    """Return the labels: -100 where the loss must not look, else the token id."""
    # As long as the ids: position i of the labels belongs to position i of the ids. `+` makes a new list.
    return [-100] * prompt_length + input_ids[prompt_length:]


# 🐕 The loss by hand


def completion_loss(logits, labels):
    """Return the mean negative log-likelihood (nats) of the scored tokens."""
    # Position i speaks about token i + 1, so the last position and the first token have no partner.
    logits, targets = logits[:-1], labels[1:]  # (tokens - 1, vocabulary), (tokens - 1,)
    scored = targets != -100
    logits, targets = logits[scored], targets[scored]  # (scored, vocabulary), (scored,)
    # Logarithm and softmax in one step: a softmax alone can round to zero, whose logarithm is minus infinity.
    logs = torch.log_softmax(logits, dim=-1)
    return -logs[torch.arange(len(targets)), targets].mean().item()


# 🦁 Beat this notebook, fairly


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_accuracy": [0.30, 0.32, 0.31],  # made up: the notebook as it stands, seeds 0, 1, 2
        "my_accuracy": [0.37, 0.36, 0.39],  # made up: the same seeds with your change
        "test_messages": 300,  # the same messages for all six runs
        "baseline_tokens": 30_000,  # made up: `train_tokens`, as the notebook records it
        "my_tokens": 29_500,  # made up: no more than that
        "train_ids": ["train-0004", "train-0017", "mine-0001"],  # really: all that you trained on
    }


ANSWERS = {
    "supervised_fine_tuning/turtle": lambda: make_labels,
    "supervised_fine_tuning/dog": lambda: completion_loss,
    "supervised_fine_tuning/lion": example_results,
}

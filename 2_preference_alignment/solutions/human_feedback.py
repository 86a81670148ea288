"""Reference answers to the exercises of the notebook human_feedback.

`hint(...)` in the notebook gives less away.
"""

from collections import Counter

import torch

# 🐢 The loss of a reward model


def pair_loss(chosen, rejected):
    """Return the mean of -log sigmoid(chosen - rejected), in nats."""
    differences = torch.tensor(chosen, dtype=torch.float64) - torch.tensor(rejected, dtype=torch.float64)  # (pairs,)
    # logsigmoid, not log(sigmoid): far below zero the sigmoid rounds to 0, whose logarithm is minus infinity.
    return -torch.nn.functional.logsigmoid(differences).mean().item()


# 🐕 More than chance


def kappa(first, second):
    """Return Cohen's kappa of two people's labels of the same items."""
    n = len(first)
    agreement = sum(label == other for label, other in zip(first, second, strict=True)) / n
    left, right = Counter(first), Counter(second)
    # Both keep their habits and look at nothing: how often would they say the same?
    chance = sum(left[label] / n * right[label] / n for label in left)
    if chance == 1:  # both give one label only: there is nothing beyond chance to find
        return 0.0
    return (agreement - chance) / (1 - chance)


ANSWERS = {
    "human_feedback/turtle": lambda: pair_loss,
    "human_feedback/dog": lambda: kappa,
}

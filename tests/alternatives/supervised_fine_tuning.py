"""Other right answers, and wrong ones that were once named wrongly."""

import numpy as np
import torch


def make_labels(input_ids, prompt_length):
    labels = np.array(input_ids)
    labels[:prompt_length] = -100
    return list(labels)


def completion_loss(logits, labels):
    return torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100)


def from_behind(input_ids, prompt_length):
    answer = len(input_ids) - prompt_length
    if not prompt_length:
        return [-100] * answer
    return [-100] * prompt_length + input_ids[prompt_length:]


ALTERNATIVES = {
    "supervised_fine_tuning/turtle": lambda: make_labels,
    "supervised_fine_tuning/dog": lambda: completion_loss,
}
REFUSED = {
    "supervised_fine_tuning/turtle": (
        ("no prompt", lambda: from_behind, "Everything is masked for 3 tokens with prompt_length=0"),
    ),
}

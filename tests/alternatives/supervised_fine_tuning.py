"""Other right answers."""

import numpy as np
import torch


def make_labels(input_ids, prompt_length):
    labels = np.array(input_ids)
    labels[:prompt_length] = -100
    return list(labels)


def completion_loss(logits, labels):
    return torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100)


ALTERNATIVES = {
    "supervised_fine_tuning/turtle": lambda: make_labels,
    "supervised_fine_tuning/dog": lambda: completion_loss,
}

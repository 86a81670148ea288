"""Other right answers."""

import numpy as np
import torch


def pair_loss(chosen, rejected):
    gaps = torch.tensor(rejected) - torch.tensor(chosen)  # floats of 32 bits
    return torch.nn.functional.softplus(gaps).mean()


def kappa(first, second):
    labels = sorted({*first, *second})
    table = np.zeros((len(labels), len(labels)))
    for label, other in zip(first, second, strict=True):
        table[labels.index(label), labels.index(other)] += 1
    table /= table.sum()
    chance = table.sum(axis=0) @ table.sum(axis=1)
    return np.float32(0) if len(labels) == 1 else (np.trace(table) - chance) / (1 - chance)


ALTERNATIVES = {"human_feedback/turtle": lambda: pair_loss, "human_feedback/dog": lambda: kappa}

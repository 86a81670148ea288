"""Other right answers, and wrong ones that once passed."""

import numpy as np
import torch


def lora_parameters(shapes, rank):
    return rank * np.array(shapes, dtype=int).sum()


def merge(weight, A, B, alpha, rank_stabilised=False):
    scaling = alpha / np.sqrt(A.shape[0]) if rank_stabilised else alpha / A.shape[0]
    units = torch.eye(weight.shape[1])  # what the layer does with each unit vector is a column of the matrix
    columns = torch.nn.functional.linear(torch.nn.functional.linear(units, A), B) * float(scaling)
    return (weight.float() + columns.T).type_as(weight)


ALTERNATIVES = {"lora/turtle": lambda: lora_parameters, "lora/dog": lambda: merge}
MUTANTS = {"lora/dog": (("rank_stabilised=False", "rank_stabilised=True"),)}

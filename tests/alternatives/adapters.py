"""Other right answers."""

import torch


def may_load(base, adapter):
    hashes = {base.get("sha256"), adapter.get("base_sha256")}
    return "not known" if None in hashes else {1: "yes", 2: "no"}[len(hashes)]


def mixed_batch(x, weight, adapters, names):
    """Group by group: the rows of one adapter together, and its whole update made once."""
    names = list(names)
    result = torch.empty(len(names), weight.shape[0])
    for name in dict.fromkeys(names):
        rows = [i for i, other in enumerate(names) if other == name]
        merged = weight
        if name is not None:
            a, b, scaling = adapters[name]
            merged = torch.add(weight, b @ a, alpha=scaling)
        result[rows] = torch.einsum("oi,ri->ro", merged, x[rows])
    return result


ALTERNATIVES = {"adapters/turtle": lambda: may_load, "adapters/dog": lambda: mixed_batch}
MUTANTS = {"adapters/turtle": (("ours == theirs", "ours <= theirs"), ("ours == theirs", "ours >= theirs"))}

"""Other right answers, and wrong ones that once passed."""

import numpy as np
import torch


def chosen(scores, options, per_character):
    lengths = np.array([len(option) for option in options]) if per_character else 1
    return np.argmax(np.array(scores) / lengths)


def continuation_logprob(logits, ids, start):
    rows = torch.log_softmax(logits[start - 1 : -1], dim=-1)
    return rows.gather(1, torch.tensor(ids[start:])[:, None]).sum()


def longest(scores, options, per_character):
    values = [len(option) for option in options] if per_character else scores
    return values.index(max(values))


ALTERNATIVES = {
    "automatic_benchmarks/turtle": lambda: chosen,
    "automatic_benchmarks/dog": lambda: continuation_logprob,
}
MUTANTS = {
    "automatic_benchmarks/turtle": (
        ("score / len(option)", "score // len(option)"),
        ("in zip(scores, options, strict=True)]", "in list(zip(scores, options, strict=True))[1:]]"),
        ("in zip(scores, options, strict=True)]", "in list(zip(scores, options, strict=True))[:-1]]"),
    ),
}
REFUSED = {
    "automatic_benchmarks/turtle": (("the longest", lambda: longest, "the highest is at index 1, but you say 0"),),
}

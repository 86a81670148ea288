"""Other right answers, and wrong ones that once passed."""

import statistics

import numpy as np
import torch


def probabilities_at(scores, temperature):
    return torch.softmax(torch.tensor(scores, dtype=torch.float64) / temperature, dim=0).tolist()


def keep_top_p(probabilities, top_p):
    values = np.array(probabilities)
    order = np.argsort(-values, kind="stable")
    before = np.cumsum(values[order]) - values[order]
    values[order[(before >= top_p) & (before > 0)]] = 0
    return [value / values.sum() for value in values]


def by_mean(scores, temperature):
    away = statistics.fmean(scores)
    weights = [2.718281828459045 ** ((score - away) / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


def by_size(scores, temperature):
    away = max(abs(score) for score in scores)
    weights = [np.exp((score - away) / temperature) for score in scores]
    return [float(weight) / float(sum(weights)) for weight in weights]


ALTERNATIVES = {"inference_pipeline/turtle": lambda: probabilities_at, "inference_pipeline/dog": lambda: keep_top_p}
MUTANTS = {"inference_pipeline/turtle": (("highest = max(scores)", "highest = min(scores)"),)}
REFUSED = {
    "inference_pipeline/turtle": (
        ("the mean taken away", lambda: by_mean, "by_mean raised OverflowError"),
        ("the largest size taken away", lambda: by_size, "by_size raised ZeroDivisionError"),
    ),
}

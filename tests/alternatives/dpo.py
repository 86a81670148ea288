"""Other right answers."""

import numpy as np
import torch


def pair_margin(chosen, rejected, ref_chosen, ref_rejected, beta):
    return np.float64(beta) * (chosen + ref_rejected - rejected - ref_chosen)


def preference_losses(chosen, rejected, ref_chosen, ref_rejected, beta):
    sums = {"sigmoid": 0.0, "hinge": 0.0, "ipo": 0.0}
    for c, r, rc, rr in zip(chosen, rejected, ref_chosen, ref_rejected, strict=True):
        margin = beta * float((c.double() - rc).sum() - (r.double() - rr).sum())
        sums["sigmoid"] += float(np.logaddexp(0, -margin))
        sums["hinge"] += max(0.0, 1 - margin)
        sums["ipo"] += (((c - rc).mean() - (r - rr).mean()).item() - 0.5 / beta) ** 2
    return {name: torch.tensor(total) / len(chosen) for name, total in sums.items()}


ALTERNATIVES = {"dpo/turtle": lambda: pair_margin, "dpo/dog": lambda: preference_losses}
LIMITS = {
    "dpo/lion": (
        {"start_event_accuracy": [0.55, 0.55, 0.55], "my_event_accuracy": [0.5, 0.5, 0.5], "test_events": 100},
        {"start_event_accuracy": [0.3, 0.4, 0.5], "my_event_accuracy": [0.25, 0.35, 0.45]},
    ),
}

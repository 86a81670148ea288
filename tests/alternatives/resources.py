"""Other right answers, among them results that lie exactly on a limit."""

import numpy as np
import torch


def training_bytes(parameters, trained, bytes_each):
    held = {"weights": parameters, "gradients": trained, "first moments": trained, "second moments": trained}
    return np.array(list(held.values())).sum() * float(bytes_each)


def fair_losses(losses, masks):
    total = torch.cat([mask.flatten() for mask in masks]).sum()
    return tuple(torch.where(mask, loss, 0).sum().div(total) for loss, mask in zip(losses, masks, strict=True))


ALTERNATIVES = {
    "resources/turtle": lambda: training_bytes,
    "resources/dog": lambda: fair_losses,
    "resources/lion": lambda: {
        "baseline_peak_mb": [5300, 5290, 5310],
        "my_peak_mb": torch.tensor([2645, 2640, 2600]),  # half of the smallest
        "baseline_seconds": [0.1, 0.2, 0.3],
        "my_seconds": [0.3, 0.3, 0.3],  # 1.5 times, but for rounding
        "baseline_dev_loss": [0.28, 0.28, 0.28],
        "my_dev_loss": np.array([0.3, 0.3, 0.3]),  # 0.02 above, but for rounding
        "dev_messages": 48,
        "my_messages": np.int64(64),
    },
}

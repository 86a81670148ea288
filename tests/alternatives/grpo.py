"""Other right answers, and wrong ones that once passed."""

import json

import numpy as np
import torch


def advantages(rewards):
    if len(set(rewards)) == 1:
        return [np.float32(0)] * len(rewards)
    rewards = np.array(rewards, dtype=np.float32)
    return list((rewards - rewards.mean()) / rewards.std(ddof=1))


def advantages_tensor(rewards):
    values = torch.tensor(rewards, dtype=torch.float64)
    centred = values - values.mean()
    return torch.zeros_like(values) if max(rewards) == min(rewards) else centred / values.std()


def facts(event):
    event = {"title": None, "day": None, "start": None, "place": None, "people": []} | event
    pairs = [(name, str(value).casefold()) for name, value in event.items() if name != "people" and value]
    return set(pairs) | {("people", name) for name in event["people"]}


def honest_reward(answer, event):
    """Count facts by hand, without the course's measures."""
    truth = json.loads(event)
    start = answer.find("{")
    text = answer if start < 0 or answer.startswith("null") else answer[start:]
    try:
        answered, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return 0
    around = 1 if text[end:].strip() or start > 0 else 0
    if answered is None or truth is None:
        value = 1 if answered is truth else 0
    else:
        mine, right = facts(answered), facts(truth)
        value = len(mine & right) / len(mine | right)
    return np.float64(value / (1 + around))


ALTERNATIVES = {"grpo/turtle": lambda: advantages, "grpo/dog": lambda: honest_reward}
MUTANTS = {
    "grpo/turtle": (
        ("statistics.fmean(rewards)", "abs(statistics.fmean(rewards))"),
        ("== min(rewards)", "== abs(min(rewards))"),
    ),
    "grpo/dog": (("value *= 0.8", "value = 0.8"), ("value *= 0.8", "value = max(value, 0.8)")),
}
REFUSED = {
    "grpo/turtle": (
        (
            "the second is wrong",
            lambda: lambda rewards: [x + 0.5 * (i == 1) for i, x in enumerate(advantages(rewards))],
            "the advantage of 0.2 (number 2) should be",
        ),
    ),
}

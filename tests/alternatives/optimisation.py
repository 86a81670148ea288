"""Other right answers, and wrong ones that were once named wrongly."""

import numpy as np


def cache_bytes(layers, kv_heads, head_size, tokens, rows, bytes_each):
    keys = np.empty((rows, kv_heads, tokens, head_size), dtype=f"V{bytes_each}")
    return np.int64(keys.nbytes) * 2 * layers


def accepted(guesses, wanted):
    if guesses and guesses[0] == wanted[0]:
        return [guesses[0], *accepted(guesses[1:], wanted[1:])]
    return wanted[:1]


ALTERNATIVES = {
    "optimisation/turtle": lambda: cache_bytes,
    "optimisation/dog": lambda: accepted,
    "optimisation/lion": lambda: {
        "baseline_tokens_per_second": np.array([100.1, 99.0, 98.0]),
        "my_tokens_per_second": [np.float32(150.15), 151.0, 152.0],  # 1.5 times, but for rounding
        "test_messages": 200,
        "lost": 0,
        "won": 0,
        "chosen_on": ["dev-0001"],
    },
}
REFUSED = {
    "optimisation/dog": (
        ("all guesses", lambda: lambda guesses, wanted: list(guesses), "All guesses are taken, right"),
    ),
}

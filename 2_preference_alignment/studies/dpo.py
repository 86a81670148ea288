"""The study behind the notebook `dpo`: three seeds, other betas, other pairs, and controls.

`smol study 2/dpo` executes the notebook once for each run, in a process of its own, and writes the results beside this
file. Every run but one asks about more test events than the notebook.
"""

_MORE = {"test_events": 80, "test_messages": 40}
_LOOK = {"test_events": 48, "test_messages": 16, "margin": -1.0}

RUNS = {
    # The claim, three times: only the seed differs.
    "seed_0": {"parameters": _MORE},
    "seed_1": {"parameters": _MORE | {"seed": 1}},
    "seed_2": {"parameters": _MORE | {"seed": 2}},
    # beta, lower and higher.
    "beta_low": {"parameters": _LOOK | {"beta": 0.02}},
    "beta_high": {"parameters": _LOOK | {"beta": 0.5}},
    # Less to learn about length: of each event's answers, the two closest in length; and pairs by truth alone.
    "like_length": {"parameters": _LOOK | {"pair_choice": "like_length"}},
    "truth_only": {"parameters": _LOOK | {"tie_words": 99}},
    # The controls: no step at all, and a coin that decides which answer of a pair is the better one.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "train_events": 8, "test_events": 16, "test_messages": 8},
        "fails": "DPO did not help",
    },
    "shuffled": {
        "parameters": {"shuffle_preferences": True, "test_events": 48, "test_messages": 16},
        "fails": "DPO did not help",
    },
}

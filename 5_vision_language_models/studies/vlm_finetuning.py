"""The study behind the notebook `vlm_finetuning`: two more seeds, three controls, and the adapter in three places.

`smol study 5/vlm_finetuning` executes the notebook once for each run, in a process of its own, and writes the results
beside this file. The notebook's own run is the first seed.
"""

_HALF = {"steps": 40, "test_questions": 48, "kept_each": 4, "margin": -1.0}

RUNS = {
    # The claim again: other pictures to train on, another adapter to begin with.
    "seed_1": {"parameters": {"seed": 1}},
    "seed_2": {"parameters": {"seed": 2}},
    # The controls: no step at all, and pictures that say nothing about the answers.
    "learning_rate_0": {
        "parameters": {"learning_rate": 0.0, "steps": 2, "test_questions": 48, "kept_each": 1},
        "fails": "fine-tuning did not help",
    },
    "shuffled_images": {
        "parameters": {"shuffle_images": True, "kept_each": 4},
        "fails": "fine-tuning did not help",
    },
    # A question that needs a computation, not a look: the same training does not teach it.
    "busiest_day": {
        "parameters": {"kind": "calendar_busiest", "kept_each": 1},
        "fails": "fine-tuning did not help",
    },
    # Where the adapter goes, with half of the steps. No claim.
    "in_language": {"parameters": _HALF},
    "in_connector": {"parameters": _HALF | {"placement": "connector"}},
    "in_vision": {"parameters": _HALF | {"placement": "vision"}},
}

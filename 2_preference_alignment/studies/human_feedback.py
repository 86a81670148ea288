"""The study behind the notebook `human_feedback`: another seed, a reward model that saw styles only, a control.

`smol study 2/human_feedback` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

RUNS = {
    # The claim again with another seed; it also asks what became of the first job, noting the event.
    "seed_1": {"parameters": {"seed": 1, "event_messages": 32}},
    # A reward model whose every pair could be decided by length.
    "style_pairs": {"parameters": {"reward_pairs": "style", "kto_steps": 1, "margin": -1.0}},
    # The control: half of the labels of each kind are flipped. Nothing can be learned, the claim must fail.
    "shuffled": {"parameters": {"shuffle": True}, "fails": "the reward model reads no facts"},
}

"""The study behind the notebook `retrieval_agents`: more questions for the model, other chunks, a random control.

`smol study 8/retrieval_agents` executes the notebook once for each run, in a process of its own, and writes the results
beside this file.
"""

RUNS = {
    # More questions for the model, and another split for the threshold.
    "seed_0": {"parameters": {"asked": 20}},
    "seed_1": {"parameters": {"asked": 20, "seed": 1}},
    # The size of the pieces, and longer help pages among them.
    "short_chunks": {"parameters": {"chunk_words": 60, "overlap": 20, "asked": 4}},
    "long_chunks": {"parameters": {"chunk_words": 200, "overlap": 40, "asked": 4}},
    "more_pages": {"parameters": {"longest_help": 8000, "asked": 4}},
    # The control: a random ranking must fail the claim.
    "shuffled": {"parameters": {"shuffled": True}, "fails": "the ranking is no better than chance"},
}

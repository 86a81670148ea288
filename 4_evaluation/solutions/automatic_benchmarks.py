"""Reference answers to the exercises of the notebook automatic_benchmarks.

`hint(...)` in the notebook gives less away.
"""

# 🐢 The chosen option


def chosen(scores, options, per_character):
    """Return the index of the option that the model is taken to choose."""
    if per_character:
        scores = [score / len(option) for score, option in zip(scores, options, strict=True)]
    return max(range(len(scores)), key=lambda index: scores[index])


# 🐕 The log-probability of a continuation


def continuation_logprob(logits, ids, start):
    """Return the summed log-probability of ids[start:] after what stands before."""
    log_probs = logits.log_softmax(-1)  # (tokens, vocabulary)
    # What the model expects at a place stands in the row before it.
    return sum(log_probs[place - 1, ids[place]].item() for place in range(start, len(ids)))


ANSWERS = {
    "automatic_benchmarks/turtle": lambda: chosen,
    "automatic_benchmarks/dog": lambda: continuation_logprob,
}

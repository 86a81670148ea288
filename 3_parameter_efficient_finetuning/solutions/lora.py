"""Reference answers to the exercises of the notebook lora.

`hint(...)` in the notebook gives less away.
"""

# 🐢 Count what LoRA trains


def lora_parameters(shapes, rank):
    """Return how many numbers LoRA trains beside matrices of these shapes."""
    # A is (rank, in) and B is (out, rank). The matrix itself is frozen.
    return sum(rank * (rows + columns) for rows, columns in shapes)


# 🐕 Merge an adapter


def merge(weight, A, B, alpha, rank_stabilised=False):
    """Return the matrix that does in one step what weight and adapter do together."""
    rank = A.shape[0]
    factor = alpha / (rank**0.5 if rank_stabilised else rank)
    # W x + factor · B A x = (W + factor · B A) x. (out, r) @ (r, in) has the shape of weight.
    # The sum is made in the longer format of the two, and rounded once.
    return (weight + factor * B @ A).to(weight.dtype)


# 🦁 As good with a quarter


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_f1": [0.30, 0.32, 0.31],  # made up: the notebook as it stands, seeds 0, 1, 2
        "my_f1": [0.33, 0.31, 0.32],  # made up: the same seeds with your change
        "test_messages": 300,  # the same messages for all six runs
        "baseline_parameters": 4_000_000,  # made up: `trained_parameters`, as the notebook records it
        "my_parameters": 1_000_000,  # made up: at most a quarter of that
        "baseline_tokens": 20_000,  # made up: `train_tokens`, as the notebook records it
        "my_tokens": 20_000,  # made up: no more than that
        "train_ids": ["train-0004", "train-0017"],  # really: all that you trained on
    }


ANSWERS = {
    "lora/turtle": lambda: lora_parameters,
    "lora/dog": lambda: merge,
    "lora/lion": example_results,
}

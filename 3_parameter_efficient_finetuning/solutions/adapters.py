"""Reference answers to the exercises of the notebook adapters.

`hint(...)` in the notebook gives less away.
"""

# 🐢 May it be loaded?


def may_load(base, adapter):
    """Return "yes", "no" or "not known": may the adapter be loaded onto this base?"""
    # .get: a provenance that says nothing about a hash may leave the key out, or hold None.
    ours, theirs = base.get("sha256"), adapter.get("base_sha256")
    if ours is None or theirs is None:
        return "not known"  # before comparing: two missing hashes are equal and prove nothing
    return "yes" if ours == theirs else "no"  # names are labels: a copy may have another, a changed model the same


# 🐕 A batch of several adapters


def mixed_batch(x, weight, adapters, names):
    """Return the layer's output (rows, out), each row with its own adapter or none."""
    output = x @ weight.T  # (rows, out): the base's part, for all rows at once
    for row, name in enumerate(names):
        if name is None:
            continue
        a, b, scaling = adapters[name]  # (rank, in), (out, rank), a number
        # To the output, not to the weight: what a row adds must not reach the next one.
        output[row] += scaling * (b @ (a @ x[row]))  # (out,)
    return output


ANSWERS = {
    "adapters/turtle": lambda: may_load,
    "adapters/dog": lambda: mixed_batch,
}

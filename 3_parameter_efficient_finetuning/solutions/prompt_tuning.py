"""Reference answers to the exercises of the notebook prompt_tuning.

`hint(...)` in the notebook gives less away.
"""

import torch

# 🐢 What is trained


def trained_parameters(method, shape, virtual_tokens):
    """Return how many numbers "prompt", "prefix" or "ia3" trains on a model of this shape."""
    # Several query heads share one head of keys and values: there are only kv_heads of these.
    keys = shape["kv_heads"] * (shape["hidden"] // shape["heads"])
    if method == "prompt":
        return virtual_tokens * shape["hidden"]  # one vector for each virtual token, before the first layer
    if method == "prefix":
        return virtual_tokens * shape["layers"] * 2 * keys  # a key and a value, in every layer
    return shape["layers"] * (keys + keys + shape["feed_forward"])  # three vectors of factors in every layer


# 🐕 A soft prompt in front


def with_soft_prompt(soft, words, rows):
    """Return the batch as a dictionary of inputs_embeds, attention_mask and labels."""
    longest = max(len(ids) for ids, _ in rows)
    embeds, mask, labels = [], [], []
    for ids, prompt_length in rows:
        empty = longest - len(ids)
        padding = words.new_zeros(empty, words.shape[1])  # any vector would do: the mask hides it
        # `cat` and not a fresh tensor: the gradient of every row must reach the one soft prompt.
        embeds.append(torch.cat([soft, words[torch.tensor(ids)], padding]))  # (virtual + longest, width)
        mask.append([1] * (len(soft) + len(ids)) + [0] * empty)
        labels.append([-100] * (len(soft) + prompt_length) + ids[prompt_length:] + [-100] * empty)
    return {
        "inputs_embeds": torch.stack(embeds),  # (rows, virtual + longest, width)
        "attention_mask": torch.tensor(mask),  # (rows, virtual + longest)
        "labels": torch.tensor(labels),  # (rows, virtual + longest)
    }


ANSWERS = {
    "prompt_tuning/turtle": lambda: trained_parameters,
    "prompt_tuning/dog": lambda: with_soft_prompt,
}

"""Other right answers, and wrong ones that were once named wrongly."""

import torch


def trained_parameters(method, shape, virtual_tokens):
    layers, hidden, heads, kv_heads, inner = (
        shape[name] for name in ("layers", "hidden", "heads", "kv_heads", "feed_forward")
    )
    width = torch.tensor(hidden).div(heads, rounding_mode="floor") * kv_heads
    return {
        "prompt": torch.tensor(virtual_tokens * hidden),
        "prefix": layers * 2 * virtual_tokens * width,
        "ia3": layers * (2 * width + inner),
    }[method]


def with_soft_prompt(soft, words, rows):
    virtual, longest = soft.shape[0], max(len(ids) for ids, _ in rows)
    labels = torch.full((len(rows), virtual + longest), -100)
    mask = torch.zeros_like(labels)
    mask[:, :virtual] = 1
    embeds = torch.full((len(rows), longest, words.shape[1]), 7.0)  # any vector will do where the mask is 0
    for row, (ids, prompt_length) in enumerate(rows):
        end = virtual + len(ids)
        embeds[row, : len(ids)] = torch.nn.functional.embedding(torch.tensor(ids), words)
        mask[row, virtual:end] = 1
        labels[row, virtual + prompt_length : end] = torch.tensor(ids[prompt_length:])
    embeds = torch.cat([soft.expand(len(rows), -1, -1), embeds], dim=1)
    return {"labels": labels, "inputs_embeds": embeds, "attention_mask": mask.bool()}


def one_too_many(soft, words, rows):
    return with_soft_prompt(soft, words, [(ids, max(0, prompt_length - 1)) for ids, prompt_length in rows])


ALTERNATIVES = {"prompt_tuning/turtle": lambda: trained_parameters, "prompt_tuning/dog": lambda: with_soft_prompt}
REFUSED = {
    "prompt_tuning/dog": (("one token too many", lambda: one_too_many, "at place 2 should be -100 (it is only read)"),),
    "prompt_tuning/turtle": (
        (
            "a fraction",
            lambda: lambda method, shape, tokens: tokens * shape["hidden"] / 1,
            "9216.0 is a number with a fraction",
        ),
    ),
}

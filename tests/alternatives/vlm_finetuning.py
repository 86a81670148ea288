"""Other right answers, among them results that lie exactly on a limit."""

from collections import defaultdict

import torch


def row_labels(input_ids, attention_mask, prompt_length):
    ids, mask = torch.tensor(input_ids), torch.tensor(attention_mask)
    return torch.where((mask == 1) & (mask.cumsum(0) > prompt_length), ids, -100)


def preference_rows(shown):
    answers = defaultdict(list)
    for example in shown:
        if example.answer not in answers[example.kind]:
            answers[example.kind].append(example.answer)

    def turn(role, text):
        return [{"role": role, "content": text}]

    rows = []
    for example in shown:
        own = answers[example.kind]
        other = own[(own.index(example.answer) + 1) % len(own)]
        row = {"prompt": turn("user", example.question), "images": [example.image]}
        rows.append(row | {"rejected": turn("assistant", other), "chosen": turn("assistant", example.answer)})
    return rows


def padding_told_by_zero(input_ids, attention_mask, prompt_length):
    first = next(place for place, token in enumerate(input_ids) if token)
    pairs = enumerate(zip(input_ids, attention_mask, strict=True))
    return [token if here and place >= first + prompt_length else -100 for place, (token, here) in pairs]


def next_other(shown):
    rows = preference_rows(shown)
    for place, (row, example) in enumerate(zip(rows, shown, strict=True)):
        behind = [*shown[place + 1 :], *shown]
        row["rejected"][0]["content"] = next(
            other.answer for other in behind if other.kind == example.kind and other.answer != example.answer
        )
    return rows


ALTERNATIVES = {
    "vlm_finetuning/turtle": lambda: row_labels,
    "vlm_finetuning/dog": lambda: preference_rows,
    "vlm_finetuning/lion": lambda: {
        "before_right": torch.tensor([0.1, 0.4, 0.2]),
        "after_right": [0.4, 0.7, 0.5],  # a rise by 0.3, but for rounding
        "after_blank": [0.1, 0.4, 0.2],
        "after_shuffled": [0.1, 0.1, 0.1],
        "most_frequent": 0.1,
        "before_other_kinds": [0.85, 0.85, 0.85],
        "after_other_kinds": [0.8, 0.8, 0.8],  # 0.05 lost, but for rounding
        "test_questions": 100,
        "train_pictures": ["0a" * 32],
        "test_pictures": ["2c" * 32],
    },
}
REFUSED = {
    "vlm_finetuning/turtle": (("padding told by 0", lambda: padding_told_by_zero, "At place 3 of [2, 2, 1"),),
    "vlm_finetuning/dog": (("the next other answer", lambda: next_other, "'3' is chosen 2 and rejected 3 times"),),
}

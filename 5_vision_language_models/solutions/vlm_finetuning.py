"""Reference answers to the exercises of the notebook vlm_finetuning.

`hint(...)` in the notebook gives less away.
"""

# 🐢 Labels of a padded row


def row_labels(input_ids, attention_mask, prompt_length):
    """Return the labels of one row: -100 where the loss must not look, else the token id."""
    labels, real = [], 0
    for token, mask in zip(input_ids, attention_mask, strict=True):
        real += mask  # how many real tokens there were, this one included
        labels.append(token if mask and real > prompt_length else -100)
    return labels


# 🐕 Pairs for DPO on images


def preference_rows(shown):
    """Return rows for DPOTrainer in which only the picture decides."""
    rejected = {}
    for kind in {example.kind for example in shown}:
        answers = sorted({example.answer for example in shown if example.kind == kind})
        # Each answer is rejected in favour of its neighbour: equally frequent answers are rejected equally often.
        rejected |= {(kind, answer): answers[place - 1] for place, answer in enumerate(answers)}
    return [
        {
            "images": [example.image],
            "prompt": [{"role": "user", "content": example.question}],
            "chosen": [{"role": "assistant", "content": example.answer}],
            "rejected": [{"role": "assistant", "content": rejected[example.kind, example.answer]}],
        }
        for example in shown
    ]


# 🦁 Teach it your question


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "before_right": [0.10, 0.12, 0.08],  # made up: your test questions, seeds 0, 1, 2
        "after_right": [0.80, 0.76, 0.82],  # made up: the same questions after training
        "after_blank": [0.25, 0.22, 0.24],  # made up: with a grey sheet
        "after_shuffled": [0.26, 0.25, 0.21],  # made up: with another question's picture
        "most_frequent": 0.28,  # made up: the best constant answer
        "before_other_kinds": [0.85, 0.85, 0.85],  # made up
        "after_other_kinds": [0.84, 0.83, 0.85],  # made up
        "test_questions": 120,
        "train_pictures": ["0a" * 32, "1b" * 32],  # really: one for each picture that you trained on
        "test_pictures": ["2c" * 32, "3d" * 32],
    }


ANSWERS = {
    "vlm_finetuning/turtle": lambda: row_labels,
    "vlm_finetuning/dog": lambda: preference_rows,
    "vlm_finetuning/lion": example_results,
}

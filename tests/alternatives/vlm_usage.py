"""Other right answers, and wrong ones that once passed or were named wrongly."""

from itertools import product

import numpy as np

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
PARTS = ("morning", "afternoon", "evening")


def points_above_blind(with_picture, with_blank, right):
    truth = np.array(right)
    return (np.mean(np.array(with_picture) == truth) - np.mean(np.array(with_blank) == truth)) * 100


def common_free_slots(weeks, see):
    """Slot by slot, all weeks of a slot beside each other."""
    asked = list(product(DAYS, PARTS, range(len(weeks))))
    if not asked:
        return []
    texts = see([weeks[n] for _, _, n in asked], [f"On {day}, is the {part} free?" for day, part, _ in asked])
    busy = {
        (day, part) for (day, part, _), text in zip(asked, texts, strict=True) if text.lstrip()[:3].upper() != "YES"
    }
    return [slot for slot in product(DAYS, PARTS) if slot not in busy]


def one_blind_answer(with_picture, with_blank, right):  # where one blind answer is right, this looks like points
    hits = sum(a == b for a, b in zip(with_picture, right, strict=True))
    return 100 * hits / len(right) - 100 / len(right)


def a_y_is_enough(weeks, see):
    return common_free_slots(
        weeks, lambda *asked: ["yes" if text.strip()[:1] in "yY" else "no" for text in see(*asked)]
    )


ALTERNATIVES = {"vlm_usage/turtle": lambda: points_above_blind, "vlm_usage/dog": lambda: common_free_slots}
MUTANTS = {
    "vlm_usage/turtle": (
        ("in zip(with_picture, right, strict=True)", "in set(zip(with_picture, right, strict=True))"),
        ("in zip(with_blank, right, strict=True)", "in set(zip(with_blank, right, strict=True))"),
    ),
    "vlm_usage/dog": (("for text in said]", "for text in said[:-1]]"), ('startswith("yes")', 'startswith("ye")')),
}
REFUSED = {
    "vlm_usage/dog": (
        ("a y is enough", lambda: a_y_is_enough, "Friday evening is in your list, but somebody is busy"),
    ),
    "vlm_usage/turtle": (
        ("minus one answer", lambda: one_blind_answer, "4 of 5 right seeing, 2 blind: that gives 40.0"),
    ),
}

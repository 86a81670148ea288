"""Reference answers to the exercises of the notebook vlm_usage.

`hint(...)` in the notebook gives less away.
"""

from smol_course.vision.pictures import DAYS, PARTS

# 🐢 Points above blind


def points_above_blind(with_picture, with_blank, right):
    """Return the difference of the two shares right, in percentage points."""
    seen = sum(reply == wanted for reply, wanted in zip(with_picture, right, strict=True))
    blind = sum(reply == wanted for reply, wanted in zip(with_blank, right, strict=True))
    return 100 * (seen - blind) / len(right)


# 🐕 When can we meet?


def common_free_slots(weeks, see):
    """Return the slots in which every week is free."""
    slots = [(day, part) for day in DAYS for part in PARTS]
    if not weeks:
        return []
    # One batch: all slots of the first picture, then all of the second, and so on.
    pictures = [week for week in weeks for _ in slots]
    said = see(pictures, [f"Is {day} {part} still free?" for day, part in slots] * len(weeks))
    free = [text.strip().lower().startswith("yes") for text in said]
    # Every fifteenth answer is about the same slot.
    return [slot for place, slot in enumerate(slots) if all(free[place :: len(slots)])]


ANSWERS = {
    "vlm_usage/turtle": lambda: points_above_blind,
    "vlm_usage/dog": lambda: common_free_slots,
}

"""``python -m smol_course.data`` writes the data card's table of counts anew."""

import re

from smol_course.data import CARD, card_table
from smol_course.errors import CourseError
from smol_course.files import write_text


def fill_card() -> None:
    """Write the counts of today's files into the card. Raises CourseError if the card has no place for them."""
    text = CARD.read_text(encoding="utf-8")
    filled, places = re.subn(r"(<!--counts-->).*?(<!--/counts-->)", rf"\1\n{card_table()}\n\2", text, flags=re.DOTALL)
    if places != 1:
        raise CourseError(f"{CARD.name} needs one pair of <!--counts--> and <!--/counts--> for its table.")
    write_text(CARD, filled)


if __name__ == "__main__":
    fill_card()

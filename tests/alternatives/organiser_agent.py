"""Other right answers, and wrong ones that once passed."""

from collections import Counter


def same(found, wanted):
    def count(events):
        return Counter("|".join([event["day"], event["start"], event["title"].lower()]) for event in events)

    return not (count(found) - count(wanted) or count(wanted) - count(found))


def must_end(steps, most):
    match steps:
        case _ if not len(steps) < most:
            return "too many steps"
        case [*_, a, b, c] if a == b and b == c:
            return "the same again"
        case [*_, a, b, c, d] if (a, b) == (c, d):
            return "to and fro"


def starts(found, wanted):
    return sorted(event["start"] for event in found) == sorted(event["start"] for event in wanted)


def any_neighbours_that_differ(steps, most):
    if len(steps) >= most:
        return "too many steps"
    if len(steps) > 2 and steps[-1] == steps[-2] == steps[-3]:
        return "the same again"
    last = steps[-4:]
    return "to and fro" if len(last) == 4 and all(a != b for a, b in zip(last, last[1:], strict=False)) else None


def two_calls_only(steps, most):
    reason = must_end(steps, most)
    return None if reason == "to and fro" and steps[-1][0] == steps[-2][0] else reason


ALTERNATIVES = {"organiser_agent/turtle": lambda: same, "organiser_agent/dog": lambda: must_end}
MUTANTS = {
    "organiser_agent/turtle": (
        ('event["title"].casefold(), event["day"], event["start"]', 'event["day"], event["start"]'),
        ('event["title"].casefold(), event["day"], event["start"]', 'event["title"].casefold(), event["start"]'),
        ('event["title"].casefold(),', 'sorted(event["title"].casefold()),'),
        ('event["title"].casefold(),', 'len(event["title"]),'),
    ),
    "organiser_agent/dog": (
        ("last[0] == last[1] == last[2]", "last[1] == last[2]"),
        ("last[:2] == last[2:] and last[0]", "last[0]"),
        ("last[0] != last[1]", "steps[0] != last[1]"),
    ),
}
REFUSED = {
    "organiser_agent/turtle": (("starts only", lambda: starts, "Another day: it should be False"),),
    "organiser_agent/dog": (
        ("neighbours", lambda: any_neighbours_that_differ, "steps A B C D"),
        ("two calls only", lambda: two_calls_only, "one call to and fro between two observations"),
    ),
}

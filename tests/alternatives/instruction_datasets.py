"""Other right answers, and wrong ones that once passed."""

import re
from datetime import datetime


def with_slots(message, event, said):
    texts = {
        event["title"]: "{title}",
        event["place"]: "{place}",
        said.get("day"): "{day}",
        said.get("start"): "{start}",
    }
    texts.pop(None, None)
    pattern = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
    return re.sub(pattern, lambda match: texts[match[0]], message)


WEEK = {f"{datetime(2024, 1, day):%A}".lower() for day in range(1, 8)}  # the first of January was a Monday


def follows(message, event):
    """Read the message word by word."""
    days, starts, words = [], [], re.split(r"[^\w':.]+", message)
    for word in words:
        plain = word.lower().strip(".:")
        days += [day for day in WEEK if plain in (day, day[:3])]
        for form in ("%H:%M", "%I.%M%p", "%I%p"):
            try:
                starts.append(f"{datetime.strptime(plain, form):%H:%M}")
            except ValueError:
                continue
    if event is None:
        return not days or not starts
    if (days or [None]) != [event["day"]] or (starts or [None]) != [event["start"]]:
        return False
    if event["place"] and event["place"].casefold() not in message.casefold():
        return False
    named = {word.strip(".:'") for word in words}
    wanted = set(event["title"].casefold().split())
    return named >= set(event["people"]) and {name.casefold() for name in named} >= wanted


ALTERNATIVES = {"instruction_datasets/turtle": lambda: with_slots, "instruction_datasets/dog": lambda: follows}
MUTANTS = {
    "instruction_datasets/dog": (
        ('"sunday")', ")"),
        ('"tuesday", ', ""),
        ('"thursday"', '"THURSDAY"'),
        ("        elif not minute:\n            continue  # a bare number is no time\n", ""),
        ("continue  # a bare", "break  # a bare"),
        ("not (days and times)", "not times"),
        ('days == {event["day"]}', 'days <= {event["day"]}'),
        ('times == {event["start"]}', 'times <= {event["start"]}'),
        ('times == {event["start"]} - {None}', 'times == {event["start"]}'),
        ('event["title"].lower().split()', 'event["title"].lower().split()[1:]'),
        ('event["title"].lower().split()', 'event["title"].split()'),
        ("for w in words]", "for w in words[:-1]]"),
    ),
}
REFUSED = {
    "instruction_datasets/dog": (
        (
            "a day in a word",
            lambda: lambda m, e: follows(m.replace("sunglasses", "sun glasses"), e),
            "sunglasses say no day",
        ),
    ),
}
LIMITS = {
    "instruction_datasets/lion": (
        {"verified": 0.8},
        {"verified": 1, "baseline_accuracy": [0.1, 0.2, 0.3], "my_accuracy": [0.25, 0.25, 0.25]},
        {"baseline_accuracy": [0.40, 0.42, 0.44], "my_accuracy": [0.46, 0.47, 0.48], "test_messages": 50},
    ),
}

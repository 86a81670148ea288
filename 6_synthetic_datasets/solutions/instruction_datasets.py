"""Reference answers to the exercises of the notebook instruction_datasets.

`hint(...)` in the notebook gives less away.
"""

import re

# 🐢 Slots


def with_slots(message, event, said):
    """Return the message with slots."""
    written = {"title": event["title"], "place": event["place"], "day": said.get("day"), "start": said.get("start")}
    for field, text in written.items():
        if text:
            message = message.replace(text, f"{{{field}}}")
    return message


# 🐕 A verifier

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def days_in(message):
    """Return the days that a message says."""
    words = re.findall(r"\w+", message.lower())
    return {day for day in DAYS if day in words or day[:3] in words}


def times_in(message):
    """Return the times that a message says, as HH:MM."""
    times = set()
    for hour, minute, half in re.findall(r"\b(\d{1,2})(?:[.:](\d\d))?([ap]m)?\b", message.lower()):
        if half:
            hour = int(hour) % 12 + (12 if half == "pm" else 0)  # 12am is 0, 12pm is 12
        elif not minute:
            continue  # a bare number is no time
        times.add(f"{int(hour):02d}:{minute or '00'}")
    return times


def follows(message, event):
    """Say whether the event follows from the message."""
    days, times = days_in(message), times_in(message)
    if event is None:
        return not (days and times)
    words = re.findall(r"[\w']+", message)
    return (
        days == {event["day"]} - {None}
        and times == {event["start"]} - {None}
        and (event["place"] is None or event["place"].lower() in message.lower())
        and all(name in words for name in event["people"])
        and all(word in [w.lower() for w in words] for word in event["title"].lower().split())
    )


# 🦁 Better data, not more steps


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_accuracy": [0.40, 0.42, 0.44],  # made up: "filtered" of the notebook, seeds 0, 1, 2
        "my_accuracy": [0.52, 0.50, 0.54],  # made up: the same seeds with your records
        "test_messages": 52,
        "baseline_rows": 400,  # 100 steps of 4
        "my_rows": 400,
        "records_read": 100,  # made up
        "verified": 0.93,  # made up: the share of those that were right
        "train_ids": ["jotting-0001", "mine-0001"],  # really: all that you trained on, and what it was made from
    }


ANSWERS = {
    "instruction_datasets/turtle": lambda: with_slots,
    "instruction_datasets/dog": lambda: follows,
    "instruction_datasets/lion": example_results,
}

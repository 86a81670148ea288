"""Proofs about the event messages: their form, their features, and that the test half is not the training half."""

import ast
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recipes.data_card import CARD, card_table
from smol_course import settings
from smol_course.agents.pages import pages, questions
from smol_course.agents.tasks import tasks
from smol_course.data import SPLITS, SYSTEM_PROMPT, conversation, events, in_like_batches, study_runs
from smol_course.errors import CourseError
from smol_course.evaluation.confirmations import confirmation_faults, confirmations
from smol_course.evaluation.questions import choices
from smol_course.metrics import score_events, title_f1, wilson
from smol_course.settings import repository
from smol_course.synthetic.jottings import jottings
from smol_course.synthetic.messages import event_faults, leaks, skeletons
from smol_course.synthetic.messages import similarity as by_grams

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# How a message may name each day.
NAMED = {
    "monday": r"\bmon(day)?s?\b",
    "tuesday": r"\btu(e|es|esday)?s?\b",
    "wednesday": r"\bwed(s|nes|nesday|nesdays)?\b",
    "thursday": r"\bth(u|ur|urs|ursday|ursdays)?\b",
    "friday": r"\bfr(i|iday|idays)?\b",
    "saturday": r"\bsa(t|turday|turdays)?\b",
    "sunday": r"\bsu(n|nday|ndays)?\b",
}
NUMBERS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    "|seventeen|eighteen|nineteen|twenty|noon|midday|midnight|half|quarter|¼"
)
HALF_OF_DAY = re.compile(
    r"(?<![^\W\d])[ap]\.?\s?m\b|morning|afternoon|evening|night|noon|midday|breakfast|lunch|dinner|supper"
    r"|hundred|oh-|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty"
)
NOT_A_NAME = re.compile(
    "dr|mr|mrs|ms|miss|prof|professor|aunt|auntie|uncle|coach|sir|pastor|nurse|father|sister|captain|grandma"
    "|grandpa|nan|judge|officer|chef|sergeant|rabbi|imam|de|van|von|of|the|o|jr",
    re.IGNORECASE,
)
CORRECTION = re.compile(
    r"no,? wait|scratch|make that|i mean\b|correction|instead|moved|pushed|brought forward|no longer|chang"
    r"|swapped|\bnot (on )?(mon|tue|wed|thu|fri|sat|sun|at|\d)|new time|sorry|\bnow\b"
)

ROWS = {split: [row | {"event": json.loads(row["event"])} for row in events(split)] for split in SPLITS}
ALL = [row for rows in ROWS.values() for row in rows]
TRAINING, TESTING = ROWS["train"] + ROWS["dev"], ROWS["test"] + ROWS["hard"]
EVENTS = [row for row in ALL if row["event"]]


# --- How alike two messages are -----------------------------------------------------------------------------


def clashes(training: list[dict], testing: list[dict]) -> list[tuple[str, set[str]]]:
    """The test messages that share a sentence skeleton with a training message, and what they share."""
    known = set().union(*(skeletons(row["message"], row["event"]) for row in training))
    every = [(row["message"], skeletons(row["message"], row["event"]) & known) for row in testing]
    return [(message, shared) for message, shared in every if shared]


def similarity(left: list[dict], right: list[dict]) -> np.ndarray:
    """Jaccard similarity of 4-grams, (left, right), of every message on the left with every one on the right."""
    return by_grams([row["message"] for row in left], [row["message"] for row in right])


def names(row: dict) -> set[str]:
    """Every part of the people's names of a message's event, titles such as Dr and Aunt aside."""
    parts = re.findall(r"[^\W\d_]+", " ".join(row["event"]["people"]) if row["event"] else "")
    return {part for part in parts if not NOT_A_NAME.fullmatch(part)}


# --- Form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_events_are_a_dataset_of_texts(split: str) -> None:
    dataset = events(split)
    assert dataset.column_names == ["id", "register", "style", "message", "event"]
    assert all(isinstance(value, str) for row in dataset for value in row.values())


def test_unknown_split_is_one_clear_sentence() -> None:
    with pytest.raises(CourseError, match="no split 'validation': take one of train, dev, test, hard"):
        events("validation")


def test_ids_and_messages_are_unique() -> None:
    assert len({row["id"] for row in ALL}) == len(ALL)
    assert all(row["id"].startswith(f"{split}-") for split, rows in ROWS.items() for row in rows)
    messages = Counter(" ".join(row["message"].casefold().split()) for row in ALL)
    assert not [message for message, count in messages.items() if count > 1]


@pytest.mark.parametrize("split", SPLITS)
def test_events_follow_the_schema(split: str) -> None:
    for row in ROWS[split]:
        assert row["style"] in {"plain", "tangled"}
        assert 4 <= len(row["message"].split()) <= 70, row
        assert row["message"] == row["message"].strip(), row
        event = row["event"]
        if event is None:
            continue
        assert list(event) == ["title", "day", "start", "place", "people"], row
        assert event["day"] is None or event["day"] in DAYS, row
        assert event["start"] is None or re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", event["start"]), row
        texts = [event["title"], event["place"] or "x", *event["people"]]
        assert all(isinstance(text, str) and text and text == text.strip() for text in texts), row
        assert len(set(event["people"])) == len(event["people"]), row


def test_size_and_registers() -> None:
    registers = {split: {row["register"] for row in rows} for split, rows in ROWS.items()}
    assert len(ALL) >= 900
    assert len(ROWS["test"]) >= 300
    assert len(registers["train"]) >= 6
    assert registers["dev"] <= registers["train"]
    assert registers["train"] < registers["test"], "all of training's registers and one that it never sees"
    assert registers["hard"] == registers["test"]
    assert {row["style"] for row in ROWS["hard"]} == {"tangled"}
    fewest = Counter(row["register"] for row in ROWS["test"]).most_common()[-1]
    assert fewest[1] >= 30, f"too few in register {fewest[0]} to report it apart"


def test_system_prompt_names_the_fields() -> None:
    assert all(field in SYSTEM_PROMPT for field in ("title", "day", "start", "place", "people"))


# --- Labels -------------------------------------------------------------------------------------------------


def test_the_day_is_named() -> None:
    for row in EVENTS:
        day = row["event"]["day"]
        assert day is None or re.search(NAMED[day], row["message"].lower()), row


def test_place_and_people_are_as_written() -> None:
    for row in EVENTS:
        message = " ".join(row["message"].split())
        assert (row["event"]["place"] or "").casefold() in message.casefold(), row
        assert not re.match(r"(at|in|on) ", row["event"]["place"] or ""), row
        assert re.search(r"(?!the\b|an?\b)\b\w", (row["event"]["place"] or "x").casefold()), row
        assert all(person in message for person in row["event"]["people"]), row
        assert [*row["event"]["people"]] == sorted(row["event"]["people"], key=message.index), row


def test_title_is_short_and_of_the_messages_words() -> None:
    for row in EVENTS:
        words = re.findall(r"[\w']+", row["event"]["title"].lower())
        assert 1 <= len(row["event"]["title"].split()) <= 5, row
        assert 2 * sum(word in row["message"].lower() for word in words) >= len(words), row
        assert not set(words) & set(DAYS), row


def said_times(message: str) -> set[str]:
    """The times that a message gives in figures, as HH:MM; both halves of the day where it does not say which."""
    times = set()
    pattern = r"(?<![\d:.])(\d{1,2})(?:[:.h]?(\d\d))?\s*(?:([ap])\.?\s?m\b)?"
    for hour, minute, half in re.findall(pattern, message.lower()):
        halves = ["a", "p"] if not half and int(hour) <= 12 else [half]
        hours = [int(hour) % 12 + 12 * (each == "p") if each else int(hour) for each in halves]
        times |= {f"{each:02}:{minute or '00'}" for each in [*hours, int(hour)]}
    return times


def test_the_start_is_said() -> None:
    for row in EVENTS:
        start, message = row["event"]["start"], row["message"].lower()
        assert start is None or start in said_times(message) or re.search(NUMBERS, message), row


def test_the_half_of_the_day_is_clear() -> None:
    """A start in the message needs a word for the half of the day, or figures of a 24-hour clock."""
    for row in EVENTS:
        if row["event"]["start"]:
            hour, minute = row["event"]["start"].split(":")
            clock = rf"(?<!\d){hour}\s?([:.h]?\s?{minute}|h)(?!\d)|(?<!\d){int(hour)}\s?h\b"
            message = row["message"].lower()
            assert HALF_OF_DAY.search(message) or re.search(clock, message), row


# --- Features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test", "hard"])
def test_features_are_there(split: str) -> None:
    rows = ROWS[split]
    labels = [row["event"] for row in rows if row["event"]]
    share = {field: np.mean([not event[field] for event in labels]) for field in labels[0]}
    assert np.mean([row["event"] is None for row in rows]) >= 0.06
    assert share["day"] >= 0.10
    assert share["start"] >= 0.08
    assert share["place"] >= 0.15
    assert 0.30 <= share["people"] <= 0.60
    assert np.mean([len(event["people"]) > 1 for event in labels]) >= 0.15
    assert {event["day"] for event in labels} == {*DAYS, None}
    assert len({event["start"] for event in labels}) >= 50


@pytest.mark.parametrize("split", ["train", "test", "hard"])
def test_ways_to_say_it_are_there(split: str) -> None:
    messages = [row["message"].lower() for row in ROWS[split] if row["event"]]
    twelve = r"\d\s?[ap]\.?\s?m\b"
    twenty_four = r"(?<!\d)(0\d|1[3-9]|2[0-3])\s?[:.h]?\s?[0-5]\d(?!\s?[ap]\.?m)(?!\d)"
    in_words = rf"\b({NUMBERS})\b.*\b(morning|afternoon|evening|night|[ap] ?m)\b"
    for name, pattern, least in (
        ("12-hour", twelve, 0.15),
        ("24-hour", twenty_four, 0.15),
        ("in words", in_words, 0.03),
        ("correction", CORRECTION, 0.05),
    ):
        share = np.mean([bool(re.search(pattern, message)) for message in messages])
        assert share >= least, f"{name}: {share:.0%}"
    days = [sum(bool(re.search(NAMED[day], message)) for day in DAYS) for message in messages]
    assert np.mean([count > 1 for count in days]) >= 0.04, "distractor days"


# --- The halves ---------------------------------------------------------------------------------------------


def test_no_sentence_skeleton_is_shared_between_the_halves() -> None:
    assert clashes(TRAINING, TESTING) == []


def test_no_near_duplicates() -> None:
    assert similarity(TESTING, TRAINING).max() < 0.5, "between the halves"
    for split, rows in ROWS.items():
        alike = similarity(rows, rows) - np.eye(len(rows), dtype=np.float32)
        first, second = np.unravel_index(alike.argmax(), alike.shape)
        assert alike.max() < 0.8, (split, rows[first]["message"], rows[second]["message"])


def test_people_of_the_halves_have_other_names() -> None:
    training, testing = (set().union(*map(names, half)) for half in (TRAINING, TESTING))
    assert len(training) > 200
    assert len(testing) > 200
    assert not {name.lower() for name in training} & {name.lower() for name in testing}
    assert not [name for name in training if not "A" <= name[0].upper() <= "M"]
    assert not [name for name in testing if not "N" <= name[0].upper() <= "Z"]


def test_invented_venues_of_the_halves_have_other_names() -> None:
    """Everyday places ("the canteen", "my place") may come in both, names of two capitals or more may not."""
    training, testing = ({row["event"]["place"] or "" for row in half if row["event"]} for half in (TRAINING, TESTING))
    assert not [place for place in training & testing if len(re.findall(r"\b[A-Z][a-z]", place)) > 1]


PLANT = {
    "message": "Could you bring the ladder? We meet for gutter cleaning on Tue at 9.15 am with Ada, Elm Hut.",
    "event": {
        "title": "gutter cleaning",
        "day": "tuesday",
        "start": "09:15",
        "place": "Elm Hut",
        "people": ["Ada"],
    },
}
SLOTS_SWAPPED = {
    "message": "We meet for roof painting on Saturday at 14:00 with Zoltan, Yew Barn! Nothing else is new here.",
    "event": {
        "title": "roof painting",
        "day": "saturday",
        "start": "14:00",
        "place": "Yew Barn",
        "people": ["Zoltan"],
    },
}
REWORDED = SLOTS_SWAPPED | {"message": "Zoltan is painting with you: roof painting, Saturday 14:00, at Yew Barn."}


def test_a_planted_clash_is_found() -> None:
    """The negative control: without it, a checker that finds nothing would look like data that has nothing."""
    caught = clashes([*TRAINING, PLANT], [*TESTING, SLOTS_SWAPPED])
    assert caught == [(SLOTS_SWAPPED["message"], {"we meet for on at with"})]
    assert clashes([PLANT], [REWORDED]) == []


def test_a_planted_near_duplicate_is_found() -> None:
    sample = TRAINING[0]
    copy = sample | {"message": sample["message"].upper() + " !!"}
    assert similarity([copy], TRAINING).max() > 0.95
    assert similarity([copy], TRAINING).argmax() == 0
    assert similarity([{"message": "abcdef"}], [{"message": "abcdxy"}])[0, 0] == pytest.approx(1 / 5)


# --- The card, and the metric on the data -------------------------------------------------------------------


def test_the_card_has_the_counts_of_the_files() -> None:
    card = CARD.read_text(encoding="utf-8")
    written = re.search(r"<!--counts-->\n(.*?)\n<!--/counts-->", card, re.DOTALL)
    assert written, "the card has no place for its table"
    assert written[1] == card_table(), "run `python -m recipes.data_card`"
    assert f"| messages | {' | '.join(str(len(rows)) for rows in ROWS.values())} |" in card


def test_the_card_does_not_call_them_human() -> None:
    card = CARD.read_text(encoding="utf-8")
    assert "language model" in card
    assert "not human-written" in card
    assert all(f"`{split}`" in card for split in SPLITS)
    assert "MIT" in card


@pytest.mark.parametrize("split", ["test", "hard"])
def test_perfect_shuffled_and_constant_answers(split: str) -> None:
    wanted = events(split)["event"][:]
    no_event = sum(text == "null" for text in wanted) / len(wanted)
    perfect, shuffled, constant = (
        score_events(answers, wanted) for answers in (wanted, wanted[1:] + wanted[:1], ["null"] * len(wanted))
    )
    assert (perfect.accuracy, perfect.field_f1, perfect.readable) == (1, 1, 1)
    assert shuffled.accuracy <= no_event
    assert shuffled.field_f1 < 0.25
    assert constant.accuracy == pytest.approx(no_event)
    assert constant.field_f1 == 0


def test_titles_are_not_alike_enough_to_guess() -> None:
    """No title passes for many: a model that always says the commonest word would not get by."""
    titles = [row["event"]["title"] for row in TESTING if row["event"]]
    word, _ = Counter(word for title in titles for word in title.lower().split()).most_common(1)[0]
    assert np.mean([title_f1(word, title) >= 0.5 for title in titles]) < 0.05


# --- Confirmations, and rows for a trainer ------------------------------------------------------------------

STATEMENT_FAULTS = {"too long", "more than one sentence"}  # of form, and not of what is said


@pytest.mark.parametrize(("split", "least"), [("train", 230), ("dev", 25)])
def test_confirmations_state_their_events(split: str, least: int) -> None:
    rows = confirmations(split)
    assert len(rows) >= least and len(set(rows["id"])) == len(rows)
    for row in rows:
        assert confirmation_faults(row["plain"], row["event"]) == [], row
        for kind in ("rambling", "flattering"):
            assert set(confirmation_faults(row[kind], row["event"])) <= STATEMENT_FAULTS, row[kind]
        assert len(row["plain"].split()) < min(len(row["rambling"].split()), len(row["flattering"].split()))


def test_confirmations_differ() -> None:
    """They were written one by one: no opening of three words is common."""
    plain = [*confirmations("train")["plain"], *confirmations("dev")["plain"]]
    openings = Counter(" ".join(text.split()[:3]).casefold() for text in plain)
    assert openings.most_common(1)[0][1] <= 0.05 * len(plain)
    assert len(set(plain)) == len(plain)


def test_confirmations_of_no_other_split() -> None:
    with pytest.raises(CourseError, match="take train or dev"):
        confirmations("test")


# --- The 50 jottings and the 48 to choose on ----------------------------------------------------------------

JOTTINGS = {split: [row | {"event": json.loads(row["event"])} for row in jottings(split)] for split in ("train", "dev")}


@pytest.mark.parametrize(("split", "count"), [("train", 50), ("dev", 48)])
def test_jottings_are_messages_of_the_training_half(split: str, count: int) -> None:
    rows = JOTTINGS[split]
    assert len(rows) == count == len({row["message"].casefold() for row in rows})
    assert {row["register"] for row in rows} == {"jotting"}
    assert all(row["id"].startswith("jotting-") for row in rows)
    parts = set().union(*map(names, rows))
    assert not [name for name in parts if not "A" <= name[0].upper() <= "M"]
    testing = set().union(*map(names, TESTING))
    assert not {name.lower() for name in parts} & {name.lower() for name in testing}
    for row in (row for row in rows if row["event"]):
        event = row["event"]
        assert list(event) == ["title", "day", "start", "place", "people"], row
        assert event["day"] is None or re.search(NAMED[event["day"]], row["message"].lower()), row
        assert (event["place"] or "").casefold() in row["message"].casefold(), row
        assert all(person in row["message"] for person in event["people"]), row
        assert event["start"] is None or re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", event["start"]), row
    assert 3 <= sum(row["event"] is None for row in rows) <= 6


@pytest.mark.parametrize(
    ("ones", "others"),
    [(JOTTINGS["train"], TESTING), (JOTTINGS["dev"], TESTING), (JOTTINGS["train"], JOTTINGS["dev"])],
    ids=["train and test", "dev and test", "train and dev"],
)
def test_jottings_share_nothing(ones: list[dict], others: list[dict]) -> None:
    records, tests = ([row | {"event": json.dumps(row["event"])} for row in rows] for rows in (ones, others))
    assert leaks(records, tests) == {}
    assert similarity(ones, others).max() < 0.5


@pytest.mark.parametrize("split", ["train", "dev"])
def test_the_checks_find_no_fault_in_nearly_all_jottings(split: str) -> None:
    faulty = [row["id"] for row in jottings(split) if event_faults(row["message"], row["event"])]
    assert len(faulty) <= 5, faulty


def test_jottings_have_two_splits() -> None:
    with pytest.raises(CourseError, match="There is no split 'test' of the jottings: take train or dev"):
        jottings("test")


def test_module_1_builds_what_the_package_has() -> None:
    """The notebook writes `conversation` and `in_like_batches` as a lesson: the same rows come out."""
    root = repository() / "1_instruction_tuning" / "notebooks" / "supervised_fine_tuning.py"
    space = {"random": random, "SYSTEM_PROMPT": SYSTEM_PROMPT, "batch_size": 4, "seed": 3}
    for node in ast.parse(root.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name in {"conversation", "in_like_batches"}:
            exec(compile(ast.Module([node], []), root.name, "exec"), space)
    rows = events("train").select(range(50))
    ours = in_like_batches(rows, batch_size=4, seed=3)
    assert space["in_like_batches"](rows)["id"] == ours["id"] != rows["id"]
    for row in rows.select(range(3)):
        assert space["conversation"](row) == conversation(SYSTEM_PROMPT, row["message"], row["event"])


# --- Questions with options ---------------------------------------------------------------------------------

CHOICES = {
    (name, split): list(choices(name, split))
    for name, split in (("everyday", "test"), ("everyday", "shots"), ("quiz", "test"))
}
every_collection = pytest.mark.parametrize("rows", CHOICES.values(), ids=map("/".join, CHOICES))


@every_collection
def test_choices_are_well_formed(rows: list[dict]) -> None:
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"id", "kind", "form", "text", "options", "right"}
        assert len(row["options"]) == len(set(map(str.casefold, row["options"]))) == 4, row["text"]
        assert row["right"] in range(4)
        assert (row["form"] == "question") == row["text"].endswith("?")
        assert all(text == text.strip() and text for text in (row["text"], *row["options"]))


@every_collection
def test_options_of_a_question_are_of_like_length(rows: list[dict]) -> None:
    for row in rows:
        lengths = sorted(map(len, row["options"]))
        assert lengths[-1] - lengths[0] <= max(6, lengths[0]), row["options"]


def test_neither_place_nor_length_gives_the_answer_away() -> None:
    rows = CHOICES["everyday", "test"]
    for place in range(4):
        low, high = wilson(sum(row["right"] == place for row in rows), len(rows))
        assert low < 0.25 < high, f"place {place}"
    for pick in (max, min):
        hits = sum(pick(row["options"], key=len) == row["options"][row["right"]] for row in rows)
        low, high = wilson(hits, len(rows))
        assert low < 0.28, f"the {'longest' if pick is max else 'shortest'} option is right in {hits} of {len(rows)}"


def test_there_are_a_few_hundred_and_a_quiz_for_each_lesson() -> None:
    rows = CHOICES["everyday", "test"]
    assert len(rows) >= 240
    kinds = {row["kind"] for row in rows}
    assert {row["kind"] for row in CHOICES["everyday", "shots"]} == kinds and len(kinds) >= 12
    assert not {row["text"] for row in rows} & {row["text"] for row in CHOICES["everyday", "shots"]}
    counts = Counter(row["kind"] for row in CHOICES["quiz", "test"])
    assert set(counts.values()) == {3}


def test_choices_that_do_not_exist() -> None:
    for name, split in (("quiz", "shots"), ("everyday", "train"), ("other", "test")):
        with pytest.raises(CourseError, match="there are: everyday"):
            choices(name, split)


def test_the_card_counts_the_questions() -> None:
    card = CARD.with_name("CHOICES.md").read_text(encoding="utf-8")
    for (name, split), rows in CHOICES.items():
        assert f"| `{name}.jsonl`, split `{split}` | {len(rows)} |" in card


# --- Pages and questions (module 8) -------------------------------------------------------------------------


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_every_evidence_stands_on_its_page() -> None:
    """Lessons that are edited, and another Python's help, may lose one: then it is said here which."""
    by_source: dict[str, str] = {}
    for page in [*pages("lessons"), *pages("help")]:
        by_source[page["source"]] = f"{by_source.get(page['source'], '')} {_flat(page['text'])}"
    asked = [row for row in questions() if row["corpus"] != "none"]
    lost = [row["id"] for row in asked if _flat(row["evidence"]) not in by_source.get(row["source"], "")]
    if sys.version_info[:2] != (3, 11):
        lost = [name for name in lost if not name.startswith("help")]
    assert lost == []


def test_there_are_enough_questions_and_some_have_no_answer() -> None:
    counts = Counter(row["corpus"] for row in questions())
    assert counts["lessons"] + counts["help"] >= 100 and counts["none"] >= 30
    assert len({row["question"] for row in questions()}) == len({row["id"] for row in questions()}) == counts.total()
    assert all((row["evidence"] is None) == (row["source"] is None) == (row["corpus"] == "none") for row in questions())
    card = (CARD.parent / "TASKS.md").read_text(encoding="utf-8")
    assert all(f"| {count} |" in card for count in [*counts.values(), len(tasks("single")), len(tasks("organiser"))])


def test_evidence_is_short_and_not_the_question() -> None:
    for row in questions():
        if row["evidence"]:
            words = re.findall(r"\w+", row["evidence"].lower())
            asked = set(re.findall(r"\w+", row["question"].lower()))
            assert len(words) <= 20 and not set(words) <= asked, row["id"]


def test_pages_hold_text_and_nothing_generated() -> None:
    lessons = pages("lessons")
    assert len(lessons) > 100 and len(pages("help")) > 40
    assert not [page["source"] for page in lessons if "smol:" in page["text"] or "arxiv.org" in page["text"]]
    assert {page["source"].split("#")[0] for page in lessons} >= {"dpo.md", "lora.md", "serving.md"}
    assert len(pages("help", 800)) < len(pages("help"))
    with pytest.raises(CourseError, match="take lessons or help"):
        pages("web")


# --- What the studies measured ------------------------------------------------------------------------------


def test_a_study_s_results_have_names() -> None:
    runs = study_runs("dpo")
    assert runs["shuffled"]["failed"] and {"parameters", "defaults", "seconds", "peak_mb"} <= set(runs["shuffled"])
    for run in runs.values():
        assert run["results"] and all(name == result["name"] for name, result in run["results"].items())


def test_every_study_in_the_repository_is_found() -> None:
    files = list(repository().glob("*/studies/*.json"))
    assert len(files) > 20
    for file in files:
        assert list(study_runs(file.stem)) == list(json.loads(file.read_text(encoding="utf-8"))["runs"])


@pytest.mark.parametrize("topic", ["nonsense", "", "*", "../studies/dpo", "dpo.json"])
def test_a_topic_without_results_is_one_clear_sentence(topic: str) -> None:
    with pytest.raises(CourseError, match=r"^There are no results of a study of '.*: take [^.]*\.$"):
        study_runs(topic)


def _study(folder: Path, value: float) -> None:
    folder.mkdir(parents=True)
    runs = {"seed_0": {"results": [{"name": "share", "value": value}], "failed": None}}
    (folder / "new.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")


def test_a_study_is_found_in_any_module_and_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise CourseError("The course's notebooks are not here.")

    _study(tmp_path / "12_another_module" / "studies", 1.0)
    package = tmp_path / "site-packages" / "smol_course"
    _study(package / "modules" / "12_another_module" / "studies", 2.0)
    monkeypatch.setattr(settings, "__file__", str(package / "settings.py"))
    monkeypatch.setattr(settings, "repository", lambda: tmp_path)
    assert study_runs("new")["seed_0"]["results"]["share"]["value"] == 1.0, "the repository's comes first"
    monkeypatch.setattr(settings, "repository", nowhere)
    assert study_runs("new")["seed_0"]["results"]["share"]["value"] == 2.0

"""Proofs about synthetic messages: shorthand, checks, templates, duplicates, leaks with planted ones, resuming."""

import json
import random
import re
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from smol_course.data import events
from smol_course.errors import CourseError
from smol_course.synthetic.jottings import jottings, made_jottings
from smol_course.synthetic.messages import (
    Store,
    correct,
    distinct,
    event_faults,
    fill,
    generate,
    leaks,
    new_events,
    read_self,
    said_fields,
    self_prompt,
    shorten,
    similarity,
    sound_event,
    template_of,
    unlike,
    write_prompt,
)
from smol_course.synthetic.shorthand import (
    CLOCKS,
    DAYS,
    days_said,
    manner_of_day,
    manner_of_time,
    times_said,
    write_day,
)

SEEDS = list(jottings())
KNOWN = [event for event in map(json.loads, events("train")["event"]) if event]
TEMPLATES = [template for template in (template_of(row["message"], row["event"]) for row in SEEDS) if template]
TESTS = list(events("test")) + list(events("hard"))
MODULE = Path(__file__).parents[1] / "6_synthetic_datasets"


def event(**changed: Any) -> str:
    whole = {"title": "choir", "day": "friday", "start": "19:30", "place": "St Chad's", "people": ["Alan"]}
    return json.dumps(whole | changed, ensure_ascii=False)


NOTE = "choir Fri 7.30pm St Chad's w/ Alan, bring folder"

# --- Shorthand ----------------------------------------------------------------------------------------------


def test_every_manner_of_a_time_is_read_back() -> None:
    for minutes in range(0, 24 * 60, 5):
        start = f"{minutes // 60:02d}:{minutes % 60:02d}"
        for name, write in CLOCKS.items():
            written = write(start)
            if written is not None:
                assert times_said(f"gym {written}, hall") == {start}, (name, written)


def test_every_form_of_a_day_is_read_back() -> None:
    for day, row in DAYS.items():
        for form in range(4):
            for case in ("lower", "title", "upper"):
                written = write_day(day, form, case)
                assert days_said(f"gym {written} hall") == {day}
                manner = manner_of_day(written)
                assert manner is not None and write_day(day, *manner) == written
        assert row[0] == day
    assert manner_of_day("fRi") is None and manner_of_time("seven-ish", "19:00") is None
    assert manner_of_time("7.30pm", "19:30") == "7.30pm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2–4pm", {"14:00"}),
        ("8-10am", {"08:00"}),
        ("11-1pm", {"11:00"}),
        ("7am–noon", {"07:00"}),
        ("9am to 11am", {"09:00"}),
        ("noon", {"12:00"}),
        ("midnight", {"00:00"}),
        ("12.15am and 12pm", {"00:15", "12:00"}),
        ("quarter to 8 at night", {"19:45"}),
        ("half past seven in the evening", {"19:30"}),
        ("7 in the morning", {"07:00"}),
        ("14h:", {"14:00"}),
        ("7 p.m. sharp", {"19:00"}),
        ("rm 12, 14th, £4.50, 5-a-side, 1:1, x2, ch 1-6, 2 a week", set()),
        ("", set()),
    ],
)
def test_times(text: str, said: set[str]) -> None:
    assert times_said(text) == said


def test_days_inside_other_words_are_none() -> None:
    assert days_said("monster, sunny, fries, thumb, Sato, wedding, Mo") == set()


# --- Checks -------------------------------------------------------------------------------------------------


def test_a_right_event_has_no_fault() -> None:
    assert event_faults(NOTE, event()) == []
    assert (
        event_faults(
            "Lola's recital THU 6.15pm",
            event(title="Lola's recital", day="thursday", start="18:15", place=None, people=["Lola"]),
        )
        == []
    )
    assert event_faults("milk, stamps", "null") == [] == event_faults("bins sun", "null")


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"day": "monday"}, "another day said"),
        ({"day": None}, "another day said"),
        ({"start": "07:30"}, "another start said"),
        ({"start": None}, "another start said"),
        ({"place": "the Quay"}, "place not said"),
        ({"people": ["Alan", "Bess"]}, "person not said"),
        ({"people": ["Al"]}, "person not said"),
        ({"people": []}, "a name left over"),
        ({"title": "board meeting"}, "title not said"),
    ],
)
def test_a_corrupted_event_is_caught(changed: dict[str, Any], fault: str) -> None:
    assert fault in event_faults(NOTE, event(**changed))


def test_more_faults() -> None:
    assert event_faults("choir", event(place=None, people=[])) == ["day not said", "start not said"]
    assert event_faults("choir fri 7.30pm @ depot", event(place=None, people=[])) == ["a place left over"]
    long = "choir fri 7.30pm and please do not forget that folder again because everybody waited"
    assert event_faults(long, event(place=None, people=[])) == ["too much left over"]
    assert event_faults("gym fri 6pm", "null") == ["an event is said"]
    crossed = "choir mon? NO – fri 7.30pm St Chad's w/ Alan"
    assert event_faults(crossed, event()) == ["another day said"]
    assert event_faults(crossed, event(), also=["monday"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"title": "x"}',
        "[" * 100_000,
        event(day="Friday"),
        event(start="7pm"),
        event(start="24:00"),
        event(people="Alan"),
        event(people=[1]),
        event(title=None),
        event(title=" "),
        event(place=""),
        event(place=3),
        event(day=[]),
    ],
)
def test_what_is_no_event_is_said(text: str) -> None:
    assert not sound_event(text)
    assert event_faults(NOTE, text) == ["no event of the schema"]


# --- Templates ----------------------------------------------------------------------------------------------


def test_most_jottings_become_templates_and_only_slots_are_left() -> None:
    assert len(TEMPLATES) >= 30
    for template in TEMPLATES:
        assert {f"{{{field}}}" for field in template.fields} == set(re.findall(r"\{\w+\}", template.text))
        rest = re.sub(r"\{\w+\}", " ", template.text)
        assert not days_said(rest) and not times_said(rest), template.text
    assert template_of("milk, stamps", "null") is None
    assert template_of("choir fri choir 7.30pm", event(place=None, people=[])) is None
    assert template_of("choir mon 7.30pm", event(place=None, people=[])) is None


def test_a_template_gives_its_own_seed_back() -> None:
    row = next(row for row in SEEDS if row["message"].startswith("Mon 14h"))
    template = template_of(row["message"], row["event"])
    assert template is not None and template.text == "{day} {start}: {title}, {place} ({people})"
    assert fill(template, json.loads(row["event"]), [template], random.Random(0)) == row["message"]
    other = {"title": "gym", "day": "monday", "start": None, "place": None, "people": []}
    assert fill(template, other, [template], random.Random(0)) is None


def test_filled_templates_say_their_event() -> None:
    rng, filled = random.Random(1), 0
    for new_event in new_events(KNOWN, 400, 1):
        fitting = [template for template in TEMPLATES if template.fields == said_fields(new_event)]
        if fitting:
            message, filled = fill(rng.choice(fitting), new_event, TEMPLATES, rng), filled + 1
            assert message and event_faults(message, json.dumps(new_event)) == [], (message, new_event)
    assert filled > 300


def test_new_events_cover_the_week_and_repeat_with_their_seed() -> None:
    drawn = new_events(KNOWN, 600, 3)
    assert drawn == new_events(KNOWN, 600, 3) != new_events(KNOWN, 600, 4)
    assert {event["day"] for event in drawn} == {*DAYS, None}
    assert len({event["start"] for event in drawn}) > 100
    assert all(sound_event(json.dumps(event)) and (event["day"] or event["start"]) for event in drawn)
    with pytest.raises(CourseError, match="short enough"):
        new_events([{"title": "a b c d", "day": None, "start": None, "place": None, "people": []}], 1)


def test_harder_ones_keep_their_event() -> None:
    crossed = correct(NOTE, event(), random.Random(0))
    assert crossed is not None
    assert event_faults(crossed[0], event()) == ["another day said"]
    assert event_faults(crossed[0], event(), also=crossed[1]) == []
    assert correct("choir 7.30pm", event(day=None), random.Random(0)) is None
    text = event(title="committee meeting", day=None, start="18:00", place="music room", people=[])
    message, changed = shorten("committee meeting 6pm, music room", text) or ("", "")
    assert message == "cttee mtg 6pm, music rm" and json.loads(changed)["title"] == "cttee mtg"
    assert event_faults(message, changed) == []
    assert shorten("gym 6pm", text) is None and shorten("gym with Al", "null") is None


# --- What a model is asked, and says ------------------------------------------------------------------------


def test_prompts_and_answers() -> None:
    assert write_prompt("null", "text_message")[0]["content"] == "Write a text message about this event."
    asked = self_prompt(SEEDS[:2], "a vet")
    assert [turn["role"] for turn in asked] == ["system", *["user", "assistant"] * 2, "user"]
    assert "a vet" in asked[-1]["content"]
    assert read_self(f"{NOTE}\n{event()}\nand more") == (NOTE, event())
    assert read_self("milk\nnull") == ("milk", "null")
    for text in ("", NOTE, f"\n{event()}", f'{NOTE}\n{{"title": 3}}', f"{NOTE}\n{{"):
        assert read_self(text) is None


# --- Duplicates and variety ---------------------------------------------------------------------------------


def test_doubles_go_and_others_stay() -> None:
    messages = ["dentist tue 9am Elm St", "Dentist TUE 9am, Elm St!", "choir fri 7pm", "dentist tue 9am Elm St"]
    assert unlike(messages) == [0, 2] and unlike([]) == []
    assert similarity(["abcdef"], ["abcdxy"])[0, 0] == pytest.approx(1 / 5)
    assert similarity(["ab"], ["ab"])[0, 0] == 0  # no 4-gram at all


def test_distinct() -> None:
    assert distinct(["a b c", "A b d"]) == pytest.approx(3 / 4)
    assert distinct(["a"], 2) == 0.0 == distinct([])


# --- Leaks --------------------------------------------------------------------------------------------------


def planted(message: str, **row: Any) -> dict[str, Any]:
    return {"id": "planted", "message": message, "event": "null"} | row


def test_the_fifty_leak_nothing() -> None:
    assert leaks(SEEDS, TESTS) == {} == leaks([], TESTS) == leaks(SEEDS, [])


def test_a_planted_test_message_is_caught() -> None:
    """The negative control: as it is, in other case and marks, and with its slots exchanged."""
    rows = [row | {"id": f"planted {number}"} for number, row in enumerate(TESTS[:40])]
    copies = {row["id"]: "copy" for row in rows}
    assert leaks([*SEEDS, *rows], TESTS) == copies
    shouted = [planted(row["message"].upper().replace(" ", "  ") + " !!", id=row["id"]) for row in rows]
    assert leaks(shouted, TESTS) == copies
    longer = [planted(f"NB {row['message']} ok", id=row["id"]) for row in rows]
    assert leaks(longer, TESTS).keys() == copies.keys()


def test_a_planted_skeleton_is_caught() -> None:
    test = {
        "id": "test-x",
        "message": "Bring the drill, shelves go up Sat 2pm at Olga's, Ned helps",
        "event": event(title="shelves", day="saturday", start="14:00", place="Olga's", people=["Ned"]),
    }
    other = planted(
        "Bring the drill, pictures go up Mon 11am at Bea's, Al helps",
        event=event(title="pictures", day="monday", start="11:00", place="Bea's", people=["Al"]),
    )
    assert leaks([other], [test]) == {"planted": "skeleton"}
    assert leaks([planted("Pictures: Monday, eleven o'clock, and Al will come along")], [test]) == {}


def test_what_is_trained_on_leaks_nothing() -> None:
    """The filter of the notebook, on what ships: nothing near a test message is left after it."""
    try:
        rows = list(made_jottings())
    except CourseError:
        pytest.skip("the jottings were not made yet")
    leaked = leaks(rows, TESTS)
    assert leaks([row for row in rows if row["id"] not in leaked], TESTS) == {}
    assert {row["origin"] for row in rows} == {"template", "back_translation", "self_instruct", "evolved"}
    assert len({row["id"] for row in rows}) == len(rows) >= 1000


# --- Records on disk ----------------------------------------------------------------------------------------


def test_generating_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, path, calls = [{"id": f"job-{i}"} for i in range(7)], tmp_path / "made.jsonl", []

    def make(batch: list[dict]) -> list[dict]:
        calls.append([job["id"] for job in batch])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [job | {"message": "x\u2028y"} for job in batch]

    with pytest.raises(KeyboardInterrupt):
        generate(Store(path), jobs, make, batch_size=3)
    assert len(Store(path).records) == 3
    generate(Store(path), jobs, make, batch_size=3)
    assert [record["id"] for record in Store(path).records] == [job["id"] for job in jobs]
    assert Store(path).records[0]["message"] == "x\u2028y"
    assert calls[2] == ["job-3", "job-4", "job-5"] and "3 of 7 were kept" in capsys.readouterr().out
    generate(Store(path), jobs, make, batch_size=3)
    assert len(calls) == 4 and [file.name for file in tmp_path.iterdir()] == ["made.jsonl"]


def test_a_store_refuses_what_it_cannot_keep(tmp_path: Path) -> None:
    store = Store(tmp_path / "made.jsonl")
    store.add([{"id": "a"}])
    with pytest.raises(CourseError, match="same id"):
        store.add([{"id": "a"}])
    with pytest.raises(CourseError, match="One record for each job"):
        generate(store, [{"id": "b"}, {"id": "c"}], lambda jobs: jobs[:1])
    assert [record["id"] for record in Store(store.path).records] == ["a"]
    for text in ("{", "[1]\n", '{"name": 1}\n'):
        store.path.write_text(text)
        with pytest.raises(CourseError, match="no records that can be read"):
            Store(store.path)
        assert store.path.read_text() == text


# --- The recipe's part without a model ----------------------------------------------------------------------


def test_the_recipe_makes_jobs_that_follow() -> None:
    from recipes import jottings as recipe

    made = recipe.by_template()
    assert len(made) == recipe.TEMPLATES
    assert not [row for row in made if event_faults(row["message"], row["event"])]
    written = recipe.to_write(recipe.WRITTEN, "back", 1)
    jobs = written + recipe.to_write(recipe.MORE, "more", 4) + recipe.to_instruct()
    assert len(jobs) == recipe.WRITTEN + recipe.MORE + recipe.INSTRUCTED
    assert len({row["id"] for row in made + jobs}) == len(made) + len(jobs)
    assert sum(job["event"] == "null" for job in written) >= recipe.WRITTEN // recipe.NO_EVENT
    harder = recipe.harder(made)
    assert len(harder) > recipe.EVOLVED / 2
    for row in harder:
        assert not event_faults(row["message"], row["event"], also=[row["also"]] if row["also"] else []), row
    assert {row["parent"] for row in harder} <= {row["id"] for row in made}


# --- Numbers that the lessons work out ----------------------------------------------------------------------


def lesson(page: str, *texts: str) -> None:
    """Fail where the page does not say these words any more, wherever its lines break."""
    written = " ".join((MODULE / f"{page}.md").read_text(encoding="utf-8").split())
    assert not [text for text in texts if text not in written]


def test_the_worked_containment() -> None:
    lesson("quality", "35 / 35 = 1", "only 0.42")
    test = "dinner with Olga at the Quay, Fri 7.30pm"
    training = "Hi! So that you know what the week has: dinner with olga at the quay (fri, 7:30pm). See you there."
    lesson("quality", test, training)
    test_pieces, training_pieces = (
        {text[i : i + 5] for i in range(len(text) - 4)}
        for text in (re.sub(r"[^a-z0-9]+", " ", raw.lower()).strip() for raw in (test, training))
    )
    assert len(test_pieces) == len(test_pieces & training_pieces) == 35
    assert len(test_pieces & training_pieces) / len(test_pieces | training_pieces) == pytest.approx(0.42, abs=0.005)


def test_how_often_a_margin_is_ranked_rightly_and_minhash_buckets() -> None:
    lesson("preference_datasets", "76 % are ranked rightly; of those at distance 3, 98 %")
    assert NormalDist().cdf(1 / 2**0.5) == pytest.approx(0.76, abs=0.005)
    assert NormalDist().cdf(3 / 2**0.5) == pytest.approx(0.98, abs=0.005)
    lesson("at_scale", "At 0.8 that is 92 %, at 0.5 it is 5 %")
    assert 1 - (1 - 0.8**8) ** 14 == pytest.approx(0.92, abs=0.005)
    assert 1 - (1 - 0.5**8) ** 14 == pytest.approx(0.05, abs=0.005)

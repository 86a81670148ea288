"""The metrics, with the mistakes that such metrics make: each of these once flattered or punished some model."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smol_course.metrics import event_right, field_f1, parse_event, record, score_events, title_f1, watch, wilson

EVENT = {
    "title": "budget review",
    "day": "friday",
    "start": "19:30",
    "place": "the Luna Room",
    "people": ["Ana", "Dr Hale"],
}
EMPTY = {"title": "dentist", "day": None, "start": None, "place": None, "people": []}
NULLS = dict.fromkeys(EVENT) | {"people": []}
BUNDLE = "application/vnd.smol.result+json"


def right(event: dict | None, **changes: object) -> bool:
    """Whether the event's own JSON with some fields changed still counts as right."""
    return event_right(json.dumps((event or {}) | changes), json.dumps(event))


# --- Reading an answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(EVENT),
        json.dumps(EVENT, indent=2),
        f"```json\n{json.dumps(EVENT)}\n```",
        f"Sure! Here it is:\n```\n{json.dumps(EVENT)}\n```\nAnything else?",
        f"{json.dumps(EVENT)} {json.dumps(EMPTY)}",
        f"{json.dumps(EVENT)}\nnull",
        json.dumps(EVENT | {"end": "20:30", "mood": {"deep": [1]}}),
        json.dumps([EVENT]),
    ],
)
def test_an_event_is_read_whatever_stands_around_it(text: str) -> None:
    assert parse_event(text) == EVENT


@pytest.mark.parametrize("text", ["null", " null\n", "null.", "```json\nnull\n```", "null, there is no event"])
def test_no_event_is_read(text: str) -> None:
    assert parse_event(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "no event",
        "None",
        '"null"',
        "nullable",
        "42",
        "NaN",
        "true",
        "[]",
        '["dinner", "friday"]',
        "{",
        "}",
        "{title: dinner}",
        "{'title': 'dinner'}",
        json.dumps(EVENT)[:-1],
        json.dumps(EVENT)[:25],
        '{"title": ' * 50 + '"x"',
        "[" * 100_000,
        '{"title": ' + "[" * 100_000,
        '{"title": ' * 100_000,
        '{"start": ' + "9" * 5000 + "}",
        "\ufeff\x00\ud800",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_an_unreadable_answer_is_wrong_and_not_skipped(text: str) -> None:
    with pytest.raises(ValueError):
        parse_event(text)
    assert not event_right(text, json.dumps(EVENT))
    assert not event_right(text, "null"), "unreadable is not the same as no event"
    scores = score_events([text, json.dumps(EVENT)], [json.dumps(EVENT)] * 2)
    assert (scores.n, scores.accuracy, scores.readable) == (2, 0.5, 0.5)
    assert scores.field_f1 == pytest.approx(2 / 3), "its fields are still missing"


def test_left_out_keys_are_null() -> None:
    assert parse_event('{"title": "dentist"}') == EMPTY
    assert parse_event("{}") == NULLS
    assert not event_right("{}", "null"), "an empty event is an event"
    assert not event_right("null", json.dumps(EMPTY))


@pytest.mark.parametrize("value", [0, 7, 1.5, True, math.nan, math.inf, [], ["x"], {}, {"x": 1}, [[["x"]]], ""])
@pytest.mark.parametrize("field", EVENT)
def test_a_value_of_the_wrong_type_is_wrong_and_crashes_nothing(field: str, value: object) -> None:
    for event in (EVENT, EMPTY):
        if event[field] != value:
            assert not right(event, **{field: value})
        assert 0 <= field_f1([json.dumps(event | {field: value})], [json.dumps(event)]) <= 1


@pytest.mark.parametrize("depth", [50, 300, 600, 800, 900, 950, 980, 990, 1000, 2000])
@pytest.mark.parametrize("field", EVENT)
def test_a_value_of_any_depth_crashes_nothing(field: str, depth: int) -> None:
    deep = f'{{"{field}": {"[" * depth}{"]" * depth}}}'
    scores = score_events([deep], [json.dumps(EVENT)])
    assert scores.accuracy == scores.field_f1 == 0


# --- Event accuracy -----------------------------------------------------------------------------------------


def test_the_event_itself_is_right() -> None:
    assert right(EVENT)
    assert right(EMPTY)
    assert event_right("null", "null")
    assert not event_right("null", json.dumps(EVENT))
    assert not event_right(json.dumps(EVENT), "null")


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        (["Dr Hale", "Ana"], True),
        (["ana", "DR  HALE"], True),
        (["Ana", "Dr Hale", "Ana"], True),
        (["Ana"], False),
        (["Hale", "Ana"], False),
        (["Ana", "Dr Hale", "Ben"], False),
        (["Ana, Dr Hale"], False),
        ("Ana, Dr Hale", False),
        ({"Ana": 1, "Dr Hale": 2}, False),
        ([["Ana", "Dr Hale"]], False),
        (["Ana", "Dr Hale", None], False),
        ([], False),
        (None, False),
    ],
)
def test_people_are_a_set_of_names(people: object, expected: bool) -> None:
    assert right(EVENT, people=people) is expected


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([], True),
        (None, True),
        ("", False),
        ("Ana", False),  # counted as nobody, it would be a free guess
        ({}, False),
        (0, False),
        ([None], False),
        ([""], False),
        (["null"], False),
    ],
)
def test_nobody_is_an_empty_list_or_null(people: object, expected: bool) -> None:
    assert right(EMPTY, people=people) is expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("the Luna Room", True),
        ("Luna Room", True),
        ("LUNA  ROOM", True),
        ("the luna room.", True),
        ("A Luna Room", True),
        ("Luna", False),
        ("at the Luna Room", False),
        ("Room Luna", False),
        ("the", False),
        ("", False),
        (None, False),
        (["the Luna Room"], False),
    ],
)
def test_place_is_compared_without_case_and_article(place: object, expected: bool) -> None:
    assert right(EVENT, place=place) is expected


def test_an_article_is_a_word_of_its_own() -> None:
    assert not right(EMPTY | {"place": "Theatre"}, place="atre")
    assert not right(EMPTY | {"place": "Anchor"}, place="chor")


def test_a_number_is_not_its_text() -> None:
    assert not right(EMPTY | {"place": "204"}, place=204)


@pytest.mark.parametrize("field", ["day", "start", "place"])
@pytest.mark.parametrize("value", ["null", "None", "", "unknown", "n/a"])
def test_the_text_null_is_not_null(field: str, value: str) -> None:
    assert right(EMPTY, **{field: None})
    assert not right(EMPTY, **{field: value})
    assert not right(EVENT, **{field: None})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day", "Friday"),
        ("day", "fri"),
        ("day", "saturday"),
        ("start", "7:30 pm"),
        ("start", "07:30"),
        ("start", "19.30"),
        ("start", "19:30:00"),
        ("start", "19:30 "),
    ],
)
def test_day_and_start_are_exact(field: str, value: str) -> None:
    assert not right(EVENT, **{field: value})


@pytest.mark.parametrize("field", EVENT)
def test_one_wrong_field_makes_the_event_wrong(field: str) -> None:
    wrong = ["Zoe"] if field == "people" else "something else"
    assert not right(EVENT, **{field: wrong})


# --- Titles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "title", "expected"),
    [
        ("budget review", "budget review", 1),
        ("Review: Budget!", "budget review", 1),
        ("review", "budget review", 2 / 3),
        ("yearly review", "budget review", 1 / 2),
        ("yearly staff review", "budget review", 2 / 5),
        ("review of the budget of the year", "budget review", 4 / 9),
        ("review review review review", "budget review", 2 / 6),
        ("reviews", "review", 0),
        ("", "review", 0),
        ("!", "?", 1),
        (None, "review", 0),
        (["review"], "review", 0),
        (7, "7", 0),
        (None, None, 1),
    ],
)
def test_title_f1(answer: object, title: object, expected: float) -> None:
    assert title_f1(answer, title) == pytest.approx(expected)
    assert title_f1(title, answer) == pytest.approx(expected), "it is symmetric"


def test_half_of_the_title_is_enough_and_less_is_not() -> None:
    assert right(EVENT, title="yearly review")  # 0.5
    assert not right(EVENT, title="yearly staff review")  # 0.4
    assert not right(EVENT, title="null")


# --- Field F1 -----------------------------------------------------------------------------------------------


def f1(answer: object, event: dict | None) -> float:
    """Field F1 of one answer; a text is taken as it is."""
    return field_f1([answer if isinstance(answer, str) else json.dumps(answer)], [json.dumps(event)])


def test_field_f1_counts_pairs() -> None:
    assert f1(EVENT, EVENT) == 1
    assert f1(EVENT | {"day": "monday"}, EVENT) == pytest.approx(2 * 5 / 12)
    assert f1(EVENT | {"day": None}, EVENT) == pytest.approx(2 * 5 / 11)
    assert f1(EVENT | {"people": ["Ana"]}, EVENT) == pytest.approx(2 * 5 / 11)
    assert f1(EVENT | {"people": ["Ana", "Ana", "Dr Hale"]}, EVENT) == 1
    assert f1("gibberish", EVENT) == f1(None, EVENT) == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"day": "monday"},
        {"start": "10:00"},
        {"place": "null"},
        {"people": ["Ben"]},
        {"people": "Ben"},
        {"day": 0},
    ],
    ids=str,
)
def test_hallucinated_fields_lower_field_f1(extra: dict) -> None:
    assert f1(EMPTY, EMPTY) == 1
    assert f1(EMPTY | extra, EMPTY) == pytest.approx(2 / 3)


def test_nulls_are_worth_nothing() -> None:
    """All-null events have no pair, so agreeing on nulls cannot raise F1, and inventing an event lowers it."""
    assert f1(NULLS, EVENT) == 0
    assert f1(EVENT, None) == 0
    assert f1("null", None) == f1(NULLS, NULLS) == 1
    wanted = [json.dumps(EVENT)] + ["null"] * 99
    assert field_f1(["null"] * 100, wanted) == 0
    assert field_f1([json.dumps(EVENT)] * 100, wanted) == pytest.approx(2 / 101)


def test_field_f1_is_micro() -> None:
    """Over all pairs of the list, so one full event weighs more than one bare title."""
    wanted = [json.dumps(EVENT), json.dumps(EMPTY)]
    assert field_f1([wanted[0], "null"], wanted) == pytest.approx(2 * 6 / 13)
    assert field_f1(["null", wanted[1]], wanted) == pytest.approx(2 * 1 / 8)


# --- Scores of a list ---------------------------------------------------------------------------------------


def test_scores_keep_the_order_and_the_count() -> None:
    wanted = [json.dumps(EVENT), "null", json.dumps(EMPTY), "null"]
    scores = score_events([wanted[0], "null", "what?", json.dumps(EMPTY)], wanted)
    assert scores.right == (True, True, False, False)
    assert (scores.n, scores.accuracy, scores.readable) == (4, 0.5, 0.75)
    assert (scores.low, scores.high) == wilson(2, 4)
    assert "50%" in str(scores)
    assert "n = 4" in str(scores)


@pytest.mark.parametrize(("answers", "wanted"), [([], []), (["null"], []), (["null"], ["null", "null"])])
def test_scores_of_lists_that_do_not_match(answers: list[str], wanted: list[str]) -> None:
    with pytest.raises(ValueError):
        score_events(answers, wanted)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (0, 1, 0.0, 0.7935),
    ],
)
def test_wilson_against_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_inside_and_around() -> None:
    for n in (1, 2, 7, 96, 313, 10_000):
        for successes in {0, 1, n // 2, n - 1, n}:
            low, high = wilson(successes, n)
            assert 0 <= low <= high <= 1
            assert low - 1e-12 <= successes / n <= high + 1e-12
            assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 10), (11, 10), (0, -1)])
def test_wilson_of_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="wilson needs"):
        wilson(successes, n)


# --- record -------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What `record` displays, as the MIME bundles a notebook would get."""
    bundles = []

    def display(bundle: dict, raw: bool = False) -> None:
        assert raw, "not raw, the bundle would be shown as a printed dict"
        bundles.append(bundle)

    monkeypatch.setattr("IPython.display.display", display)
    return bundles


def test_record_shows_a_line_and_a_result(shown: list[dict]) -> None:
    record("after_event_accuracy", 0.75, low=0.655, high=0.826, n=96, seed=0)
    assert shown == [
        {
            BUNDLE: {
                "name": "after_event_accuracy",
                "value": 0.75,
                "low": 0.655,
                "high": 0.826,
                "n": 96,
                "seed": 0,
            },
            "text/plain": "after_event_accuracy = 0.75 (0.655 to 0.826), n = 96",
        }
    ]


def test_record_leaves_out_what_it_was_not_given(shown: list[dict]) -> None:
    record("loss", 2)
    assert shown[0]["text/plain"] == "loss = 2"
    assert shown[0][BUNDLE] == {
        "name": "loss",
        "value": 2.0,
        "low": None,
        "high": None,
        "n": None,
        "seed": None,
    }


def test_record_takes_numpy_numbers_and_gives_json(shown: list[dict]) -> None:
    record("x", np.float32(0.5), low=np.float64(0.25), high=np.float64(1), n=np.int64(4), seed=np.int64(0))
    recorded = json.loads(json.dumps(shown[0]))[BUNDLE]
    assert recorded == {"name": "x", "value": 0.5, "low": 0.25, "high": 1.0, "n": 4, "seed": 0}


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("x", {"value": math.nan}),
        ("x", {"value": math.inf}),
        ("x", {"value": None}),
        ("x", {"value": "high"}),
        ("x", {"value": 1, "low": math.nan}),
        ("x", {"value": 1, "high": -math.inf}),
        ("", {"value": 1}),
        ("event accuracy", {"value": 1}),
        ("a/b", {"value": 1}),
        ("x\n", {"value": 1}),
    ],
)
def test_record_refuses_what_no_table_can_show(shown: list[dict], name: str, numbers: dict) -> None:
    with pytest.raises(ValueError):
        record(name, **numbers)
    assert not shown


# --- Watching a training ------------------------------------------------------------------------------------


@pytest.fixture
def trainer() -> Any:
    """What a trainer does with its callbacks, the printing one of transformers among them."""
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback, PrinterCallback

    return CallbackHandler([DefaultFlowCallback(), PrinterCallback()], None, None, None, None)


def logged(trainer: Any, capsys: Any, step: int = 7, **logs: Any) -> str:
    """What the callbacks print of a log."""
    state = SimpleNamespace(global_step=step, is_local_process_zero=True)
    trainer.on_log(SimpleNamespace(logging_first_step=False), state, SimpleNamespace(), logs)
    return capsys.readouterr().out


def test_watch_prints_its_line_and_no_dictionary(trainer: Any, capsys: Any) -> None:
    watch(trainer, "step {step:3d}   loss {loss:.3f}   margin {rewards/margins:6.2f}")
    numbers = {"loss": "0.1236", "rewards/margins": -1, "grad_norm": "unknown"}
    assert logged(trainer, capsys, **numbers) == "step   7   loss 0.124   margin  -1.00\n", "texts are numbers too"
    assert logged(trainer, capsys, loss=0.5) == "" and logged(trainer, capsys) == "", "a name is not in the log"


def test_watch_prints_the_first_line_that_fits(trainer: Any, capsys: Any) -> None:
    watch(trainer, "loss {loss:.1f} kl {kl:.1f}", "loss {loss:.1f}", "only {eval_loss:.1f}")
    assert logged(trainer, capsys, loss=1, kl=2) == "loss 1.0 kl 2.0\n"
    assert logged(trainer, capsys, loss=1, eval_loss=3) == "loss 1.0\n"
    assert logged(trainer, capsys, eval_loss=3) == "only 3.0\n"


def test_watch_twice_prints_once(trainer: Any, capsys: Any) -> None:
    for line in ("old {loss:.1f}", "new {loss:.1f}"):
        watch(trainer, line)
    assert logged(trainer, capsys, loss=1) == "new 1.0\n"
    watch(trainer)
    assert logged(trainer, capsys, loss=1) == "" and len(trainer.callbacks) == 2, "the trainer's own one stays"


@pytest.mark.parametrize("line", ["loss {loss:d}", "loss {}", "loss {loss", "step {step:s}"])
def test_a_line_that_never_fits_is_refused_before_the_training(trainer: Any, line: str) -> None:
    with pytest.raises(ValueError):
        watch(trainer, line)

"""The evaluation suite: reports, what is read from them, and a gate that stops what got worse and nothing else."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smol_course import cli, models
from smol_course.data import events
from smol_course.errors import CourseError
from smol_course.evaluation import suite
from smol_course.evaluation.suite import Report, evaluate, gate, numbers
from smol_course.metrics import score_events

MESSAGES = suite._messages()
KEYS = list(MESSAGES)
needs_weights = pytest.mark.skipif(models._bundle() is None, reason="the bundled weights are not installed")


def answers(right: Callable[[int], bool], n: int = 120, name: str = "made up") -> Report:
    """A report whose answers are right where the function says so."""
    by_key = {key: MESSAGES[key]["event"] if right(place) else "?" for place, key in enumerate(KEYS[:n])}
    return Report(name, answers=by_key)


def one(report: Report, baseline: Report) -> suite.Verdict:
    (verdict,) = gate(report, baseline)
    return verdict


# --- Asking -------------------------------------------------------------------------------------------------


def test_a_function_is_asked_for_events() -> None:
    known = {row["message"]: row["event"] for row in events("test")}
    asked: list[str] = []

    def ask(messages: list[str]) -> list[str]:
        asked.extend(messages)
        return [known[message] for message in messages]

    report = evaluate("all known", ask, messages=50)
    assert asked == list(events("test")["message"])[:50]
    assert numbers(report).keys() == {"event_accuracy", "field_f1"}
    value, low, high, n = numbers(report)["event_accuracy"]
    assert (value, n) == (1, 50) and 0.9 < low < high == pytest.approx(1)
    assert len(evaluate("all", ask).answers) == len(events("test"))
    assert report.made["seconds"] >= 0 and report.weights == ""


def test_every_message_needs_an_answer() -> None:
    with pytest.raises(CourseError, match="gave 1 answers to 5 messages"):
        evaluate("short", lambda messages: ["null"], messages=5)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    """A Llama of random weights, and a tokenizer of single characters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).eval()

    def tokenizer(text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) % 128 for character in text]}

    return model, tokenizer


def naive(model: Any, tokenizer: Any, prompt: str, option: str) -> float:
    """The log-probability of an option, token by token, each in a pass of its own."""
    import torch

    ids, total = tokenizer(prompt)["input_ids"], 0.0
    for token in tokenizer(option)["input_ids"]:
        with torch.no_grad():
            total += model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item()
        ids = [*ids, token]
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_option_scores_are_sums_over_the_options_tokens(tiny: tuple[Any, Any], batch_size: int) -> None:
    prompts = ["Bread and", "Q: x?\nA:", "a"]
    options = [["b", "butter", "bu", "b b"], ["A", "B", "C", "D"], ["a longer one than the others", "b"]]
    scores = suite.option_scores(*tiny, prompts, options, batch_size)
    wanted = [[naive(*tiny, p, o) for o in group] for p, group in zip(prompts, options, strict=True)]
    for group, wanted_group in zip(scores, wanted, strict=True):
        assert group == pytest.approx(wanted_group, abs=1e-4)


def test_option_scores_leave_the_model_as_it_was(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    model.train()
    suite.option_scores(model, tokenizer, ["a"], [["b"]])
    assert model.training
    model.eval()


def test_page_losses_are_the_models_own_loss(tiny: tuple[Any, Any]) -> None:
    import torch

    model, tokenizer = tiny
    texts = ["abc " * 100, "xyz - " * 100, "hello " * 100]
    losses = suite.page_losses(model, tokenizer, texts, batch_size=2)
    for text, loss in zip(texts, losses, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"][: suite.PAGE_TOKENS + 1]])
        assert loss == pytest.approx(model(input_ids=ids, labels=ids).loss.item(), abs=1e-4)


def test_help_pages_are_long_enough(tiny: tuple[Any, Any]) -> None:
    pages = suite.help_pages(tiny[1], most=10)
    assert len(pages) == 10
    assert all(len(tiny[1](text)["input_ids"]) > suite.PAGE_TOKENS for text in pages.values())


def test_weights_are_known_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("base", b"one"), ("whole", b"two"), ("adapter", b"three")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(suite, "find_model", lambda name: str(tmp_path / "base"))
    names = ("start", str(tmp_path / "whole"), str(tmp_path / "adapter"))
    before = [suite.weights_of(name) for name in names]
    assert len(set(before)) == 3 and all(len(digest) == 16 for digest in before)
    (tmp_path / "base" / "model.safetensors").write_bytes(b"ONE")
    after = [suite.weights_of(name) for name in names]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, False], "an adapter has a base"
    (tmp_path / "whole" / "model.safetensors").unlink()
    assert suite.weights_of(names[1]) == ""


# --- Reports ------------------------------------------------------------------------------------------------


def test_a_report_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    report = Report("mine", "abc", {"x": "null"}, {"y": [-1.5, -2.0]}, {"z": 2.5}, {"seconds": 3})
    report.save(tmp_path / "mine.json")
    assert suite.read(tmp_path / "mine.json") == report
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"], "no draft is left"


def test_a_report_that_cannot_be_saved_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").touch()
    with pytest.raises(CourseError, match=r"mine\.json cannot be written \(.+\): mend that and try again\.$"):
        Report("mine").save(tmp_path / "in_the_way" / "mine.json")


@pytest.mark.parametrize("content", ["", "[]", '{"nme": 1}', "{"])
def test_a_broken_report_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(CourseError, match="broken.json is no report"):
        suite.read(tmp_path / "broken.json")
    with pytest.raises(CourseError, match="nothing.json is no report"):
        suite.read("nothing")


def test_numbers_are_those_of_the_metrics() -> None:
    report = answers(lambda place: place % 3 > 0)
    wanted = score_events(list(report.answers.values()), [MESSAGES[key]["event"] for key in report.answers])
    value, low, high, n = numbers(report)["event_accuracy"]
    assert (value, low, high, n) == (wanted.accuracy, wanted.low, wanted.high, wanted.n)
    assert numbers(report)["field_f1"][0] == wanted.field_f1
    for by in ("register", "style"):
        parts = suite.slices(report, by)
        assert sum(part[3] for part in parts.values()) == n
        assert sum(part[0] * part[3] for part in parts.values()) == pytest.approx(value * n)
    assert suite.outcomes(report)["event"]["unreadable"] == 40


def test_perplexity_and_choices() -> None:
    items = suite._items()
    scores = {key: [-1.0 if place == row["right"] else -2.0 for place in range(4)] for key, row in items.items()}
    report = Report("knows all", choices=scores, pages={"a:1": 2.0, "b:2": 3.0})
    assert numbers(report)["choice_accuracy"][0] == 1
    value, low, high, n = numbers(report)["perplexity"]
    assert value == pytest.approx(math.exp(2.5)) and low <= value <= high and n == 2


def test_answers_to_other_questions_do_not_count() -> None:
    report = answers(lambda place: True, n=40)
    changed = {key.split(":")[0] + ":00000000": text for key, text in report.answers.items()}
    assert numbers(replace(report, answers=changed)) == {}
    with pytest.raises(CourseError, match="share too few questions"):
        gate(replace(report, answers=changed), report)


# --- The gate -----------------------------------------------------------------------------------------------


def test_the_same_model_passes() -> None:
    report = answers(lambda place: place % 2 == 0)
    assert not one(report, report).worse


@pytest.mark.parametrize(
    ("lost", "gained", "worse"),
    [(0, 0, 0), (1, 0, 0), (4, 0, 0), (5, 0, 0), (6, 0, 1), (12, 3, 1), (9, 5, 0), (0, 20, 0)],
)
def test_the_gate_stops_what_chance_does_not_explain(lost: int, gained: int, worse: int) -> None:
    """With four or five lost and none gained, the bootstrap alone would be sure; the exact test is not."""
    before = answers(lambda place: place < 60)
    after = answers(lambda place: lost <= place < 60 + gained)
    verdict = one(after, before)
    assert (verdict.comparison.gained, verdict.comparison.lost) == (gained, lost)
    assert verdict.worse is bool(worse)
    if lost in (4, 5) and not gained:
        assert verdict.comparison.high < 0


def test_half_as_good_does_not_pass_and_as_good_does() -> None:
    """The gate of a gate: it must stop nothing for ever, and not everything."""
    baseline = answers(lambda place: place % 3 > 0)
    assert one(answers(lambda place: place % 6 > 2), baseline).worse
    assert not one(answers(lambda place: place % 3 > 0 or place == 0), baseline).worse


def test_only_shared_questions_are_compared() -> None:
    before, after = answers(lambda place: True, n=120), answers(lambda place: True, n=40)
    assert one(after, before).comparison.n == 40
    with pytest.raises(CourseError, match="share too few"):
        gate(answers(lambda place: True, n=29), before)


def test_pages_that_are_predicted_less_well_stop_it() -> None:
    before = Report("before", pages={f"page-{k}": 2.0 + k / 10 for k in range(20)})
    worse = Report("worse", pages={f"page-{k}": 2.1 + k / 10 + 0.01 * (k % 3) for k in range(20)})
    mixed = Report("mixed", pages={f"page-{k}": 2.0 + k / 10 + 0.1 * (-1) ** k for k in range(20)})
    assert one(worse, before).worse and not one(before, worse).worse
    assert not one(mixed, before).worse


@pytest.mark.parametrize(("lost", "status"), [(0, 0), (20, 1)])
def test_the_command_says_it_by_its_exit_status(tmp_path: Path, lost: int, status: int) -> None:
    answers(lambda place: place < 60).save(tmp_path / "before.json")
    answers(lambda place: lost <= place < 60, name="after").save(tmp_path / "after.json")
    command = ["evaluate", str(tmp_path / "after.json"), "--against", str(tmp_path / "before.json")]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "120"})
    assert result.exit_code == status, result.output
    assert ("got worse" in result.output) is bool(status)


# --- What ships ---------------------------------------------------------------------------------------------


SHIPPED = ("start", "organiser_lora", "organiser_sft")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_report_is_complete(name: str) -> None:
    measured = numbers(suite.read(name))
    assert measured["event_accuracy"][3] == len(MESSAGES), f"smol evaluate {name} --messages 1000 --save …/{name}.json"
    assert measured["choice_accuracy"][3] == len(suite._items())
    assert len(suite.read(name).pages) >= 20


@needs_weights
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_report_is_about_the_shipped_weights(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SMOL_DATA", str(tmp_path))
    monkeypatch.delenv("SMOL_RUN", raising=False)
    monkeypatch.delenv("SMOL_HUB", raising=False)
    assert suite.read(name).weights == suite.weights_of(name)


def test_a_shipped_report_agrees_with_where_its_adapter_came_from() -> None:
    for name in SHIPPED[1:]:
        provenance = json.loads((Path(models.__file__).parent / "artifacts" / name / "provenance.json").read_text())
        recorded = next(result for result in provenance["results"] if result["name"] == "after_event_accuracy")
        value = numbers(suite.read(name))["event_accuracy"][0]
        assert recorded["low"] < value < recorded["high"]


def test_the_gate_stops_the_model_that_was_never_tuned() -> None:
    verdicts = {verdict.what: verdict for verdict in gate(suite.read("start"), suite.read("organiser_lora"))}
    assert verdicts["event accuracy"].worse


EVENT = {
    "title": "budget review",
    "day": "friday",
    "start": "19:30",
    "place": "the Luna Room",
    "people": ["Ana", "Dr Hale"],
}
EMPTY = {"title": "dentist", "day": None, "start": None, "place": None, "people": []}


def test_field_outcomes_name_what_went_wrong() -> None:
    wanted = [json.dumps(EVENT), json.dumps(EVENT), "null", "null", json.dumps(EMPTY), json.dumps(EVENT)]
    answers = [
        json.dumps(EVENT | {"day": None, "start": "10:00"}),
        "null",
        "null",
        json.dumps(EMPTY),
        json.dumps(EMPTY | {"place": "Luna", "people": ["Ana"]}),
        "no idea",
    ]
    outcomes = suite.field_outcomes(answers, wanted)
    assert outcomes["event"] == {"noted": 2, "overlooked": 1, "left alone": 1, "made up": 1, "unreadable": 1}
    assert outcomes["day"] == {"missing": 1, "right": 1}
    assert outcomes["start"] == {"wrong": 1, "right": 1}
    assert outcomes["place"] == {"right": 1, "invented": 1}
    assert outcomes["people"] == {"right": 1, "invented": 1}
    assert outcomes["title"] == {"right": 2}


def test_field_outcomes_add_up() -> None:
    wanted = [json.dumps(EVENT), "null", json.dumps(EMPTY)] * 3
    answers = [json.dumps(EVENT | {"people": "Ana"})] * 4 + ["x"] * 2 + ["null"] * 3
    outcomes = suite.field_outcomes(answers, wanted)
    assert sum(outcomes["event"].values()) == len(wanted)
    assert all(sum(outcomes[field].values()) == outcomes["event"]["noted"] for field in EVENT)

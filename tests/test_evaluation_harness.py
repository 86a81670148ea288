"""One benchmark number from three programs: by hand, by lighteval and by lm-eval; and what deceives them."""

import copy
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smol_course import models
from smol_course.evaluation import harness
from smol_course.evaluation.questions import choices
from smol_course.evaluation.suite import load, option_scores, prompt_of

pytestmark = pytest.mark.skipif(models._bundle() is None, reason="the bundled weights are not installed")
ROWS = list(choices("everyday"))[:6]


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Any, Any, str]]:
    """The starting model, its tokenizer and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SMOL_HUB", raising=False)
        model, tokenizer = load("start")
        yield model, tokenizer, models.find_model(models.MODEL)


def by_hand(model: Any, tokenizer: Any, prompt: str, option: str) -> float:
    """The log-probability of an option after a prompt."""
    import torch

    before, after = tokenizer(prompt)["input_ids"], tokenizer(option)["input_ids"]
    with torch.no_grad():
        log_probs = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    return sum(log_probs[len(before) - 1 + step, token].item() for step, token in enumerate(after))


@pytest.fixture(scope="module")
def hand(real: tuple[Any, Any, str]) -> list[list[float]]:
    return [[by_hand(*real[:2], prompt_of(row), f" {option}") for option in row["options"]] for row in ROWS]


def accuracy(scores: list[list[float]]) -> float:
    return sum(s.index(max(s)) == row["right"] for s, row in zip(scores, ROWS, strict=True)) / len(ROWS)


def task(folder: Path, metrics: list[Any]) -> Any:
    """The questions as a lighteval task."""
    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.requests import Doc

    def as_doc(row: dict, name: str) -> Doc:
        options = [f" {option}" for option in row["options"]]
        return Doc(task_name=name, query=prompt_of(row), choices=options, gold_index=row["right"])

    return LightevalTaskConfig(
        name="six",
        prompt_function=as_doc,
        hf_repo=harness.write_rows(folder, test=ROWS),
        hf_subset="default",
        metrics=metrics,
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
    )


def scores_by_lighteval(details: list[Any]) -> list[list[float]]:
    by_place = {int(detail.doc.id): list(detail.model_response.logprobs) for detail in details}
    return [by_place[place] for place in range(len(ROWS))]


def near(one: list[list[float]], other: list[list[float]]) -> bool:
    return all(a == pytest.approx(b, abs=1e-3) for a, b in zip(one, other, strict=True))


def test_in_batches_is_as_by_hand(real: tuple[Any, Any, str], hand: list[list[float]]) -> None:
    options = [[f" {option}" for option in row["options"]] for row in ROWS]
    assert near(option_scores(*real[:2], [prompt_of(row) for row in ROWS], options), hand)


def test_lighteval_gives_the_number_computed_by_hand(
    real: tuple[Any, Any, str], hand: list[list[float]], tmp_path: Path
) -> None:
    import torch
    from lighteval.metrics.metrics import Metrics

    model, _, folder = real
    results, details = harness.run_lighteval(task(tmp_path, [Metrics.loglikelihood_acc]), model, folder, name="start")
    assert near(scores_by_lighteval(details), hand)
    assert results["acc"] == accuracy(hand)
    assert torch.is_grad_enabled(), "importing lighteval turns gradients off"
    assert near([[by_hand(model, real[1], prompt_of(ROWS[0]), f" {ROWS[0]['options'][0]}")]], [[hand[0][0]]])


def test_lm_eval_gives_the_number_computed_by_hand(real: tuple[Any, Any, str], hand: list[list[float]]) -> None:
    results, scores = harness.run_lm_eval(ROWS, [prompt_of(row) for row in ROWS], *real[:2])
    assert near(scores, hand)
    assert results["acc"] == accuracy(hand)
    options = [row["options"] for row in ROWS]
    per_character = [[s / len(o) for s, o in zip(*pair, strict=True)] for pair in zip(hand, options, strict=True)]
    assert results["acc_norm"] == accuracy(per_character), "lm-eval counts the option's characters, without the space"


def test_the_metric_test_catches_the_metric_that_picks_the_least_likely() -> None:
    from lighteval.metrics.metrics import Metrics
    from lighteval.metrics.metrics_sample import LoglikelihoodAcc

    class LeastLikely(LoglikelihoodAcc):
        def compute(self, doc: Any, model_response: Any, **_: Any) -> int:
            scores = model_response.logprobs
            return int(scores.index(min(scores)) == doc.gold_index)

    class AlwaysFirst(LoglikelihoodAcc):
        def compute(self, doc: Any, model_response: Any, **_: Any) -> int:
            return int(doc.gold_index == 0)

    right = Metrics.loglikelihood_acc.value
    assert harness.choice_metric_faults(right) == []
    for mistaken in (LeastLikely(), AlwaysFirst()):
        metric = copy.copy(right)
        metric.sample_level_fn = mistaken
        assert harness.choice_metric_faults(metric)


def test_lighteval_keeps_answers_by_name_and_not_by_weights(real: tuple[Any, Any, str], tmp_path: Path) -> None:
    """The trap that the lesson shows. Should this fail one day, lighteval is better and the lesson is stale."""
    from lighteval.metrics.metrics import Metrics

    model, _, folder = real
    other = copy.deepcopy(model)
    other.model.layers[10].mlp.down_proj.weight.data *= 0.5
    (tmp_path / "data").mkdir()
    six = task(tmp_path / "data", [Metrics.loglikelihood_acc])
    scores = [
        scores_by_lighteval(harness.run_lighteval(six, asked, folder, name=name, cache=tmp_path / "cache")[1])
        for asked, name in ((model, "mine"), (other, "mine"), (other, "mine-2"))
    ]
    assert scores[0] == scores[1], "the second model was asked"
    assert not near(scores[0], scores[2])


def test_an_unknown_lighteval_stays_as_it_is() -> None:
    def loads(somehow: Any = None) -> dict:
        return {"theirs": somehow}

    unknown = SimpleNamespace(load_all_task_configs=loads, create_custom_tasks_module=None, _extract_configs=None)
    said = io.StringIO()
    with redirect_stdout(said):
        assert harness.own_tasks_only(unknown) is False
    assert unknown.load_all_task_configs is loads and "unknown to the course" in said.getvalue()

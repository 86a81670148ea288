"""lighteval and lm-eval on a model in memory and questions at hand, without the Hub.

lighteval loads its tasks by importing every one it ships, and some download data on import. So its registry is told to
load a caller's own tasks only. Where it looks different from what is known here, it stays as it is, and needs the Hub.
"""

import inspect
import io
import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH = 32  # rows at once, in both libraries


def own_tasks_only(registry: Any = None) -> bool:
    """Let lighteval load a caller's tasks only; say whether that was done. Its import turns gradients off: on again."""
    import torch

    if registry is None:
        from lighteval.tasks.registry import Registry as registry
    torch.set_grad_enabled(True)
    theirs = getattr(registry, "load_all_task_configs", None)
    if getattr(theirs, "own_tasks_only", False):
        return True
    parts = all(hasattr(registry, name) for name in ("create_custom_tasks_module", "_extract_configs"))
    if not parts or list(inspect.signature(theirs).parameters) != ["custom_tasks", "load_multilingual"]:
        print("This lighteval loads its tasks in a way unknown to the course: it stays as it is, and may want the Hub.")
        return False

    def load_own(custom_tasks: Any = None, load_multilingual: bool = False) -> dict[str, Any]:
        if custom_tasks is None:
            return theirs(custom_tasks, load_multilingual)
        return registry._extract_configs(registry.create_custom_tasks_module(custom_tasks))

    load_own.own_tasks_only = True  # type: ignore[attr-defined]
    registry.load_all_task_configs = staticmethod(load_own)
    return True


def write_rows(folder: str | Path, **splits: Sequence[dict]) -> str:
    """Write rows as JSON lines, one file for each split, and return the folder: what a task's ``hf_repo`` may be."""
    for name, rows in splits.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (Path(folder) / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    return str(folder)


def run_lighteval(
    task: Any,
    model: "PreTrainedModel",
    tokenizer: str,
    name: str,
    cache: str | Path | None = None,
    system: str | None = None,
) -> tuple[dict[str, float], list[Any]]:
    """Run one LightevalTaskConfig on a model in memory; return its results and lighteval's details of each example.

    With ``system``, a system message, the model is asked as in a chat; else it continues plain text.
    ``tokenizer`` is a folder or Hub name; ``name`` is what lighteval files the model under. It keeps the answers in
    ``cache`` by that name, whatever the weights are; without a folder they are forgotten. Details are in the order of
    the task's documents, which lighteval shuffles: ``detail.doc.id`` is the row's number. The model stays usable.
    """
    import torch
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.models.transformers.transformers_model import TransformersModelConfig
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters

    own_tasks_only()
    own = ModuleType("own_tasks")
    own.TASKS_TABLE = [task]  # type: ignore[attr-defined]
    logging.getLogger("lighteval").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        config = TransformersModelConfig(
            model_name=name,
            tokenizer=tokenizer,
            device=str(model.device),
            batch_size=_BATCH,
            cache_dir=str(cache or folder),
            override_chat_template=system is not None,
            system_prompt=system,
        )
        pipeline = Pipeline(
            tasks=f"{task.name}|0",
            pipeline_parameters=PipelineParameters(
                ParallelismManager.NONE, custom_tasks_directory=own, bootstrap_iters=0
            ),
            evaluation_tracker=EvaluationTracker(output_dir=folder, save_details=False),
            model=model,
            model_config=config,
        )
        try:
            pipeline.evaluate()
        finally:
            torch.set_grad_enabled(True)
        results = pipeline.get_results()["results"][f"{task.name}:0"]
        details = pipeline.get_details()[f"{task.name}|0"]
    return {metric: float(value) for metric, value in results.items()}, list(details)


def choice_metric_faults(metric: Any) -> list[str]:
    """Return what is wrong with a lighteval metric of questions with options, by answers made up for the test.

    Only options of equal length are shown, so a metric may normalise or not. [] means: none of these was found.
    """
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc

    def score(log_probs: list[float], right: int) -> float:
        doc = Doc(task_name="made up", query="", choices=[" a", " b", " c", " d"], gold_index=right)
        response = ModelResponse(logprobs=log_probs, output_tokens=[[7]] * 4)
        return float(metric.compute_sample(doc=doc, model_response=response)[metric.metric_name])

    faults = []
    for right in range(4):
        sure = [-0.1 if place == right else -9.0 for place in range(4)]
        unsure = [-2.00 if place == right else -2.01 for place in range(4)]
        last = [-9.0 if place == right else -0.1 - place for place in range(4)]
        cases = (("sure and right", sure, 1), ("right by little", unsure, 1), ("wrong", last, 0))
        for what, log_probs, wanted in cases:
            if (scored := score(log_probs, right)) != wanted:
                faults.append(f"{what}, option {right}: {scored:g} instead of {wanted}")
    return faults


def run_lm_eval(
    rows: Sequence[dict],
    prompts: Sequence[str],
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> tuple[dict[str, float], list[list[float]]]:
    """Score rows with ``options`` and ``right`` by lm-eval; return its results and each option's log-probability.

    ``prompts`` are what stands before the options, which lm-eval joins with a space.
    """
    from datasets import Dataset
    from lm_eval import evaluate
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    table = Dataset.from_list(
        [{"prompt": p, "options": r["options"], "right": r["right"]} for p, r in zip(prompts, rows, strict=True)]
    )
    with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        task = ConfigurableTask(
            config={
                "task": "own",
                "custom_dataset": lambda **_: {"test": table},
                "test_split": "test",
                "output_type": "multiple_choice",
                "doc_to_text": "{{prompt}}",
                "doc_to_choice": lambda row: row["options"],
                "doc_to_target": lambda row: row["right"],
                "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            }
        )
        language_model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=_BATCH, max_length=2048)
        evaluated = evaluate(lm=language_model, task_dict={"own": task}, bootstrap_iters=0, log_samples=True)
    samples = sorted(evaluated["samples"]["own"], key=lambda sample: sample["doc_id"])
    scores = [[float(score[0]) for score in sample["filtered_resps"]] for sample in samples]
    return {name.split(",")[0]: value for name, value in evaluated["results"]["own"].items() if "," in name}, scores

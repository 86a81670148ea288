"""Fine-tune the adapters that act: one writes tool calls as JSON, the other writes code that calls the same tools.

Goes on from the adapter `organiser_lora`, which reads messages, with traces made by rules on a real calendar
(`smol_course.agents.traces`). Both forms come from the same tasks. `recipes/ship.py` calls it; alone, it trains and
keeps the adapter among the learner's own:

    uv run python -m recipes.organiser_tools
    uv run python -m recipes.organiser_code
"""

import json
import warnings
from functools import partial
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTTrainer

from recipes.adapter import command_line, settings
from smol_course.agents.agent import PROMPTS, asker, run_tasks, share_done
from smol_course.agents.sandbox import ProcessExecutor
from smol_course.agents.tasks import tasks
from smol_course.agents.traces import TEMPLATE, traces
from smol_course.data import events, in_like_batches
from smol_course.hardware import prepare
from smol_course.models import MODEL, artifact, find_model, save_artifact

# A code action is shorter than a trace of calls, so its steps are quicker and there are more of them.
STEPS = {"json": 400, "code": 480}
BATCH, LEARNING_RATE, SEED = 4, 1e-3, 0


def training_rows(form: str, count: int, seed: int, single: bool = False) -> Dataset:
    """Return so many traces as rows for TRL (column ``messages``), in batches of like length."""
    messages = [{"message": row["message"], "event": json.loads(row["event"])} for row in events("train")]
    made = traces(count, form, PROMPTS[form], seed, messages, single=single)
    texts = ["".join(turn["content"] for turn in trace["messages"]) for trace in made]
    rows = [{"messages": trace["messages"], "text_in": text} for trace, text in zip(made, texts, strict=True)]
    return in_like_batches(Dataset.from_list(rows), BATCH, seed, column="text_in").remove_columns("text_in")


def train_and_test(form: str, steps: int) -> list[dict[str, Any]]:
    """Train, keep and test the adapter of a form; return its results on the held-out tasks, as `record` names them."""
    here = prepare()
    set_seed(SEED)
    path = find_model(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    base = AutoModelForCausalLM.from_pretrained(path, dtype="float32", attn_implementation=here.attention)
    start = artifact("organiser_lora", made_by="3/lora", base=path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that transformers is about to drop
        model = PeftModel.from_pretrained(base, start, is_trainable=True)
    config = settings(here, steps, BATCH, LEARNING_RATE, SEED, assistant_only_loss=True, max_length=None)
    rows = training_rows(form, steps * BATCH, SEED)
    SFTTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=rows).train()
    save_artifact({"json": "organiser_tools", "code": "organiser_code"}[form], model, tokenizer, base=path)
    return tested(model, tokenizer, form, here.bf16)


def tested(model: Any, tokenizer: Any, form: str, bf16: bool) -> list[dict[str, Any]]:
    """Return how many of the held-out tasks are done, each share with its interval; print those that are not."""
    results = []
    for name in ("single", "organiser"):
        executor = ProcessExecutor if form == "code" else None
        outcomes = run_tasks(tasks(name), asker(model, tokenizer, bf16), form, executor=executor)
        for outcome in outcomes:
            if not outcome.done:
                print(f"{outcome.id} ({outcome.kind})\n{outcome.run}")
        value, low, high, n = share_done(outcomes)
        results.append({"name": f"after_{name}_done", "value": value, "low": low, "high": high, "n": n})
    return results


def main(form: str = "json") -> None:
    """Train, test, and write the results to a file if one is named."""
    command_line(__doc__, partial(train_and_test, form), steps=STEPS[form])


if __name__ == "__main__":
    main()

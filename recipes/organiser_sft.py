"""Fine-tune the adapter that module 2 starts from: it writes events and confirms them, well or at length.

Goes on from the adapter `organiser_lora`, with every confirmation of the training split (plain, rambling and
flattering alike, so that there is something to prefer) and as many messages with their events, so that the first
skill stays. `recipes/ship.py` calls it; alone, it trains and keeps the adapter among the learner's own:

    uv run python -m recipes.organiser_sft
"""

from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTTrainer

from recipes.adapter import command_line, settings
from smol_course.data import SYSTEM_PROMPT, conversation, events, in_like_batches
from smol_course.evaluation.confirmations import CONFIRM_PROMPT, confirmation_faults, confirmations
from smol_course.hardware import prepare
from smol_course.metrics import score_events, wilson
from smol_course.models import MODEL, answer, artifact, find_model, save_artifact

STEPS, BATCH, LEARNING_RATE, SEED = 140, 6, 1e-3, 0
STYLES = ("plain", "rambling", "flattering")


def examples(seed: int) -> Dataset:
    """Return the training rows (prompt, completion): confirmations, and as many events."""
    confirmed = [
        conversation(CONFIRM_PROMPT, row["event"], row[style]) for row in confirmations("train") for style in STYLES
    ]
    noted = events("train").shuffle(seed=seed).select(range(len(confirmed)))
    rows = confirmed + [conversation(SYSTEM_PROMPT, row["message"], row["event"]) for row in noted]
    lengths = ["".join(turn["content"] for turn in row["prompt"] + row["completion"]) for row in rows]
    return in_like_batches(
        Dataset.from_list([row | {"text_in": text} for row, text in zip(rows, lengths, strict=True)]),
        BATCH,
        seed,
        column="text_in",
    ).remove_columns("text_in")


def train_and_test() -> list[dict[str, Any]]:
    """Train, keep and test the adapter; return its results on the test events, as `record` names them."""
    here = prepare()
    set_seed(SEED)
    path = find_model(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path)
    base = AutoModelForCausalLM.from_pretrained(path, dtype="float32", attn_implementation=here.attention)
    model = PeftModel.from_pretrained(base, artifact("organiser_lora", made_by="3/lora", base=path), is_trainable=True)
    config = settings(here, STEPS, BATCH, LEARNING_RATE, SEED)
    SFTTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=examples(SEED)).train()
    save_artifact("organiser_sft", model, tokenizer, base=path)
    return tested(model, tokenizer, here.bf16)


def tested(model: Any, tokenizer: Any, bf16: bool) -> list[dict[str, Any]]:
    """Return what the model gets right on the test split, both skills, each with its interval."""
    test = events("test")
    asked = [conversation(SYSTEM_PROMPT, row["message"], "")["prompt"] for row in test]
    scores = score_events(answer(model, tokenizer, asked, bf16=bf16), test["event"])
    held = [row["event"] for row in test if row["event"] != "null"][:100]
    asked = [conversation(CONFIRM_PROMPT, event, "")["prompt"] for event in held]
    said = answer(model, tokenizer, asked, max_new_tokens=96, bf16=bf16)
    for event, text in list(zip(held, said, strict=True))[:12]:
        print(f"{event}\n   {text}\n   {confirmation_faults(text, event)}")
    good = sum(not confirmation_faults(text, event) for event, text in zip(held, said, strict=True))
    measured = {"event_accuracy": (sum(scores.right), scores.n), "good_confirmations": (good, len(held))}
    results = []
    for name, (right, n) in measured.items():
        low, high = wilson(right, n)
        results.append({"name": f"after_{name}", "value": right / n, "low": low, "high": high, "n": n})
    return results


if __name__ == "__main__":
    command_line(__doc__, train_and_test)

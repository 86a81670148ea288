"""Fine-tune the adapter that writes a message about an event: the organiser's job backwards.

It learns from the short plain messages of the training split, each with its register in the prompt, and from the 50
jottings of module 6, each several times. `recipes/jottings.py` makes new jottings with it. `recipes/ship.py` calls this
file; alone, it trains and keeps the adapter among the learner's own:

    uv run python -m recipes.jotting_writer
"""

import json
from typing import Any

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl import SFTTrainer

from recipes.adapter import command_line, settings
from smol_course.data import conversation, events, in_like_batches
from smol_course.hardware import prepare
from smol_course.metrics import wilson
from smol_course.models import MODEL, answer, find_model, save_artifact
from smol_course.synthetic.jottings import jottings
from smol_course.synthetic.messages import WRITE_PROMPT, event_faults, new_events, write_prompt

NAME = "jotting_writer"
STEPS, BATCH, LEARNING_RATE, RANK, SEED = 150, 6, 2e-3, 8, 0
TIMES = 8  # how often each jotting is shown
LONGEST = 22  # words of another register's message: a jotting is short
HELD = 64  # new events that it is tested on


def examples(seed: int) -> Dataset:
    """Return the training rows (prompt: an event, completion: the message), in batches of like length."""
    plain = events("train").filter(lambda row: row["style"] == "plain" and len(row["message"].split()) <= LONGEST)
    rows = [*plain, *list(jottings()) * TIMES]
    told = [
        conversation(WRITE_PROMPT.format(register=row["register"].replace("_", " ")), row["event"], row["message"])
        | {"text_in": row["event"] + row["message"]}
        for row in rows
    ]
    shuffled = Dataset.from_list(told).shuffle(seed=seed)
    return in_like_batches(shuffled, BATCH, seed, column="text_in").remove_columns("text_in")


def train_and_test() -> list[dict[str, Any]]:
    """Train, keep and test the adapter; return its results, as `record` names them."""
    here = prepare()
    set_seed(SEED)
    path = find_model(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path)
    base = AutoModelForCausalLM.from_pretrained(path, dtype="float32", attn_implementation=here.attention)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    config = settings(here, STEPS, BATCH, LEARNING_RATE, SEED)
    SFTTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=examples(SEED)).train()
    save_artifact(NAME, model, tokenizer, base=path)
    return tested(model, tokenizer, here.bf16)


def tested(model: Any, tokenizer: Any, bf16: bool) -> list[dict[str, Any]]:
    """Return how often the event follows from what the model writes about it, by the rules, with its interval."""
    known = [json.loads(event) for event in events("dev")["event"]]
    held = [json.dumps(event, ensure_ascii=False) for event in new_events(known, HELD, seed=1)]
    said = answer(model, tokenizer, [write_prompt(event) for event in held], max_new_tokens=32, bf16=bf16)
    for event, text in list(zip(held, said, strict=True))[:12]:
        print(f"{event}\n   {text}\n   {event_faults(text, event)}")
    right = sum(not event_faults(text, event) for event, text in zip(held, said, strict=True))
    low, high = wilson(right, HELD)
    return [{"name": "after_following", "value": right / HELD, "low": low, "high": high, "n": HELD}]


if __name__ == "__main__":
    command_line(__doc__, train_and_test)

"""The course's way to ask a model against plain transformers: same model, messages, limit and machine.

    uv run python -m benchmarks.generation

Each measurement is a process of its own, and the sides take turns. What each side is, and what the figures mean, is in
README.md beside this file. Writes results/<machine>-generation.json there.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from benchmarks import pairs
from smol_course import hardware
from smol_course.data import SYSTEM_PROMPT, conversation, events
from smol_course.models import MODEL, answer, artifact, find_model, merged

NAME, TITLE = "generation", "Answers to the test messages: their tokens per second"
ADAPTER, MESSAGES, NEW_TOKENS, BATCH = "organiser_lora", 64, 52, 32
PLAIN = {"generate_float32": "float32", "generate_bfloat16": "bfloat16"}
ALONE = 8  # how many of the messages are asked one by one, which is slow
SIDES = (*PLAIN, "ours", "not_merged", "alone", "alone_float32")
NUMBERS = ("tokens_per_second", "seconds", "bf16_rate", "float32_rate", "share_of_own_rate", "share_of_best_rate")
NUMBERS += ("weights_gb_per_second", "copy_gb_per_second", "share_of_copy_rate", "cores_taken_by_others", "peak_mb")


def main() -> None:
    """Measure all sides in turn, print the comparison, and write it."""
    parser = pairs.options(__doc__)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.side:
        print(json.dumps(measure(wish.side)))
        return

    def of(side: str) -> dict[str, Any]:
        return pairs.in_new_process("-m", "benchmarks.generation", "--side", side)

    runs = pairs.take_turns(SIDES, wish.pairs, of, one_line)
    numbers = summary(runs)
    drawn = for_the_figure(numbers)
    result = {"machine": pairs.machine(), "title": TITLE} | drawn
    result |= {"messages": MESSAGES, "alone": ALONE, "new_tokens": NEW_TOKENS, "batch": BATCH}
    # The answers are compared by now; hundreds of them would hide the numbers.
    without = [{name: value for name, value in run.items() if name != "answers"} for run in runs]
    result |= {"summary": numbers, "runs": without}
    print(json.dumps(drawn | {"equal_answers": numbers["equal_answers"]}, indent=2))
    print(f"Written: {pairs.write(NAME, result).name}")


def prompts() -> list[list[dict[str, str]]]:
    """The first test messages, as module 1's training notebook asks them."""
    rows = events("test").take(MESSAGES)
    return [conversation(SYSTEM_PROMPT, row["message"], row["event"])["prompt"] for row in rows]


def plain_attention(device: str) -> str:
    """The attention that `prepare` picks, without what else it does to torch and transformers (a test compares)."""
    return "eager" if device == "cpu" else "sdpa"


def plain_model(dtype: str, device: str) -> Any:
    """The starting model with the adapter merged, as the documentation of transformers and peft loads them."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = find_model(MODEL)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=plain_attention(device))
    return PeftModel.from_pretrained(model, artifact(ADAPTER, base=base)).merge_and_unload().to(device).eval()


def plain_answers(model: Any, tokenizer: Any, conversations: list[list[dict[str, str]]]) -> list[str]:
    """The answers by `generate` as its documentation has it: batches in the order given, padded on the left."""
    texts: list[str] = []
    tokenizer.padding_side = "left"
    for start in range(0, len(conversations), BATCH):
        batch = tokenizer.apply_chat_template(
            conversations[start : start + BATCH],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        tokens = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts += tokenizer.batch_decode(tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def our_model(side: str, here: hardware.Machine) -> Any:
    """The same model as the notebooks load it; of the side not_merged, with the adapter beside its weights."""
    base = find_model(MODEL)
    adapter = artifact(ADAPTER, base=base)
    if side != "not_merged":
        return merged(base, adapter, attn_implementation=here.attention).to(here.device)
    from peft import PeftModel

    return PeftModel.from_pretrained(merged(base, attn_implementation=here.attention), adapter).to(here.device).eval()


@dataclass
class Counts:
    """What `generate` did: prompts' and answers' tokens, positions with padding, and the steps after the prompts."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    positions: int = 0
    steps: int = 0
    step_seconds: float = 0.0


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what every call of `generate` in the block does, whichever copy of a model it is called on."""
    import torch
    from transformers.generation.utils import GenerationMixin

    counts, generate = Counts(), GenerationMixin.generate

    def counted(self: Any, *args: Any, **how: Any) -> Any:
        ends: list[float] = []  # of each pass through the model; the first reads the prompts
        hook = self.register_forward_hook(lambda *_: ends.append(time.perf_counter()))
        try:
            tokens = generate(self, *args, **how)
        finally:
            hook.remove()
        new = tokens[:, how["input_ids"].shape[1] :]
        ended = torch.isin(new, torch.as_tensor(self.generation_config.eos_token_id, device=new.device)).int()
        counts.prompt_tokens += int(how["attention_mask"].sum())
        counts.answer_tokens += int((ended.cumsum(1) - ended == 0).sum())  # up to the token that ends it, included
        counts.positions += tokens.shape[0] * (tokens.shape[1] - 1)  # the last new token is not read
        counts.steps += len(ends) - 1
        counts.step_seconds += ends[-1] - ends[0]
        return tokens

    GenerationMixin.generate = counted
    try:
        yield counts
    finally:
        GenerationMixin.generate = generate


def measure(side: str) -> dict[str, Any]:
    """Answer the messages in the way of one side; return speed, shares of the machine's rates, and the answers."""
    from transformers import AutoTokenizer

    conversations = prompts()[: ALONE if side.startswith("alone") else MESSAGES]
    tokenizer = AutoTokenizer.from_pretrained(find_model(MODEL))
    bf16 = side == "generate_bfloat16"
    if side in PLAIN:
        device = hardware.accelerator()[0]
        model = plain_model(PLAIN[side], device)
    else:
        here = hardware.prepare()
        device, bf16 = here.device, here.bf16 and side != "alone_float32"
        model = our_model(side, here)
    parameters = sum(weight.numel() for weight in model.parameters())  # tied weights count once
    before, meter = pairs.rates(device), pairs.Meter()
    with counting() as counts:
        meter.start()
        if side in PLAIN:
            answers = plain_answers(model, tokenizer, conversations)
        else:
            rows = 1 if side.startswith("alone") else BATCH
            answers = answer(model, tokenizer, conversations, NEW_TOKENS, rows, bf16=bf16, show=False)
        meter.stop()
    peak = pairs.peak_mb()  # before the large tensors of the copy below
    rates = [statistics.mean(pair) for pair in zip(before, pairs.rates(device), strict=True)]
    found = {"bf16": bf16, "parameters": parameters, "peak_mb": peak, "answers": answers}
    found["cores_taken_by_others"] = round(meter.cores_taken_by_others, 2)
    return figures(counts, sum(meter.seconds), rates, copy_rate(device), found)


def figures(counts: Counts, seconds: float, rates: list[float], copied: float, found: dict[str, Any]) -> dict[str, Any]:
    """What a measurement says: ``rates`` are bf16's and float32's in GFLOP/s, ``copied`` is in GB/s."""
    bf16, float32 = rates
    tokens = counts.prompt_tokens + counts.answer_tokens
    needed = 2 * found["parameters"] * tokens / seconds / 1e9  # GFLOP/s
    read = (2 if found["bf16"] else 4) * found["parameters"] * counts.steps / counts.step_seconds / 1e9
    return {
        "tokens_per_second": round(counts.answer_tokens / seconds, 1),
        "seconds": round(seconds, 2),
        "prompt_tokens": counts.prompt_tokens,
        "answer_tokens": counts.answer_tokens,
        "positions": counts.positions,
        "steps": counts.steps,
        "step_seconds": round(counts.step_seconds, 2),
        "bf16_rate": round(bf16, 1),
        "float32_rate": round(float32, 1),
        "share_of_own_rate": round(needed / (bf16 if found["bf16"] else float32), 3),
        "share_of_best_rate": round(needed / max(bf16, float32), 3),
        "weights_gb_per_second": round(read, 2),
        "copy_gb_per_second": round(copied, 2),
        "share_of_copy_rate": round(read / copied, 3),
    } | found


def copy_rate(device: str, megabytes: int = 512, seconds: float = 2.0) -> float:
    """How fast torch copies a tensor that no cache has room for, in GB/s: bytes read and bytes written, best turn."""
    import torch

    source = torch.ones(megabytes * 250_000, device=device)  # float32
    target, best = torch.empty_like(source), 0.0
    target.copy_(source)  # not measured: its pages are made
    end = time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        start = time.perf_counter()
        target.copy_(source)
        if device != "cpu":
            torch.accelerator.synchronize()
        best = max(best, 2 * source.nbytes / (time.perf_counter() - start) / 1e9)
    return best


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the pairs with the smallest and largest, ratios of ours, and how many answers are the same."""
    numbers: dict[str, Any] = {
        side: {name: pairs.spread(pairs.of_side(runs, side, name)) for name in NUMBERS} for side in SIDES
    }
    for side in SIDES:
        if side != "ours":
            numbers["ours"][f"times_{side}"] = pairs.ratio(runs, "ours", side, "tokens_per_second")
    answers = {side: pairs.of_side(runs, side, "answers")[0] for side in SIDES}
    # Of the messages that both were asked: one by one, these are the first few.
    both = {(a, b): list(zip(answers[a], answers[b], strict=False)) for a, b in combinations(SIDES, 2)}
    numbers["equal_answers"] = {
        f"{a} and {b}": {"equal": sum(x == y for x, y in pair), "of": len(pair)} for (a, b), pair in both.items()
    }
    return numbers


def for_the_figure(numbers: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """What docs/images/benchmarks.py draws of a summary, by label."""
    return {
        "ratios": {f"ours ÷ {side}": numbers["ours"][f"times_{side}"] for side in (*PLAIN, "not_merged")},
        "shares": {side: numbers[side]["share_of_best_rate"] for side in SIDES},
    }


def one_line(run: dict[str, Any]) -> str:
    """One measurement in one line."""
    return (
        f"{run['tokens_per_second']:.1f} tokens of answers/s in {run['seconds']:.1f} s, "
        f"{100 * run['share_of_own_rate']:.0f} % of its precision's matrix rate "
        f"({100 * run['share_of_best_rate']:.0f} % of the best), "
        f"weights read at {run['weights_gb_per_second']:.1f} GB/s "
        f"({100 * run['share_of_copy_rate']:.0f} % of the copy rate), {run['peak_mb']} MB, "
        f"others took {run['cores_taken_by_others']} cores"
    )


if __name__ == "__main__":
    main()
